"""Chips of the filters that are set, each with a link that removes it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeling.documents.list.choices import Choice
from labeling.documents.list.filters import Filters
from slmstudio.text.formatting import exact_percent

_TITLES = {
    "q": "Contains",
    "state": "State",
    "by": "Labeled by",
    "assigned": "Assigned to",
    "tag": "Tag",
    "holdout": "Hold-out",
    "split": "Split",
    "source": "Source",
    "imported": "Import",
    "synthetic": "Synthetic",
    "below": "Score below",
    "above": "Score at least",
    "wrong": "Wrong field",
}


@dataclass(frozen=True)
class Chip:
    """A filter that is set; ``query`` is the query string without it."""

    title: str
    label: str
    query: str


def chips(filters: Filters, offered: Mapping[str, Sequence[Choice]]) -> list[Chip]:
    """One chip per filter, in the order of the form."""
    shown = []
    for name, title in _TITLES.items():
        value = getattr(filters, name)
        if value in ("", None):
            continue
        known = {choice.value: choice.label for choice in offered.get(name, ())}
        label = exact_percent(value / 100) if name in ("below", "above") else known.get(value, value)
        shown.append(Chip(title, label, filters.without(name).query()))
    for condition in filters.fields:
        shown.append(Chip("", condition.label, filters.without("fields", condition).query()))
    return shown
