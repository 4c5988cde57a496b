"""The filters that are set, in words, each with the address without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labeling.documents.list.choices import Choice
from labeling.documents.list.filters import Filters

_TITLES = {
    "q": "holds",
    "state": "state",
    "by": "labelled by",
    "assigned": "assigned to",
    "tag": "tag",
    "holdout": "hold-out",
    "split": "split",
    "source": "source",
    "imported": "import",
    "synthetic": "synthetic",
    "below": "score below",
    "above": "score from",
    "wrong": "wrong field",
}


@dataclass(frozen=True)
class Chip:
    """One filter that is set; ``query`` is the address without it."""

    title: str
    words: str
    query: str


def chips(filters: Filters, offered: Mapping[str, Sequence[Choice]]) -> list[Chip]:
    """A chip per filter that is set, in the order of the form."""
    found = []
    for name, title in _TITLES.items():
        value = getattr(filters, name)
        if value in ("", None):
            continue
        known = {choice.value: choice.label for choice in offered.get(name, ())}
        words = f"{value:g} %" if name in ("below", "above") else known.get(value, value)
        found.append(Chip(title, words, filters.without(name).query()))
    for condition in filters.fields:
        found.append(Chip("", condition.words, filters.without("fields", condition).query()))
    return found
