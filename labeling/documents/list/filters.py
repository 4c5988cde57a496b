"""The filters and the order of the document list, as URL parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from labeling.documents.list.field_filters import FieldCondition, InvalidFilter, read_condition
from labeling.models import DocumentState, Split
from slmstudio.contract.schema.compiled import CompiledSchema

ORDERS = {
    "": "Oldest first",
    "newest": "Newest first",
    "saved": "Last saved first",
    "worst": "Lowest score first",
    "best": "Highest score first",
    "slowest": "Longest labeling time first",
}
#: orders that omit documents without a key, and the name of that key
PARTIAL = {"saved": "a label", "slowest": "a label", "worst": "a score", "best": "a score"}
YES_NO = ("yes", "no")
UNASSIGNED, ANY_USER = "-", "*"
SPLITS = (*Split.values, "none")
MAX_CONDITIONS = 6
_LABELS = {"holdout": "value of hold-out", "synthetic": "value of synthetic"}
_TEXTS = {"tag": 40, "source": 200, "wrong": 300, "by": 150, "assigned": 150}


@dataclass(frozen=True)
class Filters:
    """The valid filters; an empty one selects all documents.

    ``by`` and ``assigned`` are user names (``-`` no user, ``*`` any user), ``split`` is that of the newest dataset
    version (or ``none``), scores are percentages, ``imported`` is the id of an import.
    """

    q: str = ""
    state: str = ""
    by: str = ""
    assigned: str = ""
    tag: str = ""
    holdout: str = ""
    split: str = ""
    source: str = ""
    imported: str = ""
    synthetic: str = ""
    below: float | None = None
    above: float | None = None
    wrong: str = ""
    fields: tuple[FieldCondition, ...] = ()
    order: str = ""
    errors: tuple[str, ...] = field(default=(), compare=False)

    @property
    def active(self) -> bool:
        """Whether any filter is set."""
        return replace(self, order="", errors=()) != Filters()

    @property
    def is_holdout(self) -> bool:
        """Whether only documents of the hold-out match."""
        return self.holdout == "yes" or self.split == Split.HOLDOUT

    @property
    def more(self) -> bool:
        """Whether a filter in the collapsed part of the form is set."""
        return bool(self.expanded() or self.fields)

    def expanded(self) -> list[str]:
        """Names of the collapsed filters that are set."""
        names = ("assigned", "holdout", "split", "source", "synthetic", "below", "above", "wrong")
        return [name for name in names if getattr(self, name) not in ("", None)]

    def pairs(self) -> list[tuple[str, str]]:
        """The filters that are set as URL parameters."""
        pairs = [
            (name, f"{value:g}" if isinstance(value, float) else value)
            for name in ("q", "state", "by", "assigned", "tag", "holdout", "split", "source", "imported", "synthetic")
            if (value := getattr(self, name))
        ]
        pairs += [(name, f"{value:g}") for name in ("below", "above") if (value := getattr(self, name)) is not None]
        pairs += [("wrong", self.wrong)] if self.wrong else []
        for condition in self.fields:
            pairs += [("field", condition.field), ("op", condition.op), ("value", condition.typed)]
        return pairs + ([("order", self.order)] if self.order else [])

    def query(self) -> str:
        """The filters as a query string in a fixed order."""
        return urlencode(self.pairs())

    def without(self, name: str, value: Any = None) -> "Filters":
        """The filters without one of them; for ``fields`` without the condition ``value``."""
        if name == "fields":
            return replace(self, fields=tuple(item for item in self.fields if item != value))
        empty: dict[str, Any] = {name: None if name in ("below", "above") else ""}
        return replace(self, **empty)


def read_filters(parameters: QueryDict, compiled: CompiledSchema) -> Filters:
    """The filters of URL parameters. Invalid ones are ignored; ``errors`` names those that a user would miss."""
    values: dict[str, Any] = {"q": _text(parameters, "q", 200)}
    values |= {name: _text(parameters, name, length) for name, length in _TEXTS.items()}
    values["imported"] = _key(parameters.get("imported", ""))
    errors: list[str] = []
    for name, allowed in _choices().items():
        value = parameters.get(name, "")
        values[name] = value if value in allowed else ""
        if value and not values[name]:
            errors.append(f"{value[:40]!r} is not a valid {_LABELS.get(name, name)}; the filter was ignored.")
    for name in ("below", "above"):
        try:
            values[name] = _share(parameters.get(name, ""))
        except ValueError:
            errors.append(f"Score {name} must be a percentage from 0 to 100; the filter was ignored.")
    conditions: list[FieldCondition] = []
    triples = _conditions(parameters)
    if len(triples) > MAX_CONDITIONS:
        errors.append(f"At most {MAX_CONDITIONS} field filters are supported; the others were ignored.")
    for pattern, op, typed in triples[:MAX_CONDITIONS]:
        try:
            condition = read_condition(compiled, pattern, op, typed)
        except InvalidFilter as error:
            errors.append(str(error))
        else:
            if condition not in conditions:
                conditions.append(condition)
    return Filters(**values, fields=tuple(conditions), errors=tuple(errors))


def read_query(query: str, compiled: CompiledSchema) -> Filters:
    """The filters of a stored query string, of a saved view or a run."""
    return read_filters(QueryDict(query), compiled)


def _choices() -> Mapping[str, Sequence[str]]:
    return {
        "state": DocumentState.values,
        "holdout": YES_NO,
        "synthetic": YES_NO,
        "split": SPLITS,
        "order": list(ORDERS),
    }


def _text(parameters: QueryDict, name: str, length: int) -> str:
    return parameters.get(name, "").replace("\x00", "").strip()[:length]


def _key(text: str) -> str:
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 19 else ""


def _share(text: str) -> float | None:
    text = text.strip().rstrip("%").strip().replace(",", ".")
    if not text:
        return None
    share = float(text)
    if not 0 <= share <= 100:
        raise ValueError(text)
    return share


def _conditions(parameters: QueryDict) -> list[tuple[str, str, str]]:
    """Field, operator and value of every condition; an empty field is an empty row of the form."""
    fields, ops, values = (parameters.getlist(name) for name in ("field", "op", "value"))
    size = len(fields)
    ops, values = [*ops, *[""] * size][:size], [*values, *[""] * size][:size]
    rows = zip(fields, ops, values, strict=True)
    return [(pattern, op, value) for pattern, op, value in rows if pattern]
