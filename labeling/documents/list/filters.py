"""What the list of documents is filtered and sorted by, as it stands in an address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.http import QueryDict

from labeling.documents.list.field_filters import FieldCondition, UnreadableFilter, read_condition
from labeling.models import DocumentState, Split
from slmstudio.contract.schema.compiled import CompiledSchema

ORDERS = {
    "": "oldest first",
    "newest": "newest first",
    "saved": "last saved first",
    "worst": "lowest score first",
    "best": "highest score first",
    "slowest": "longest work first",
}
#: orders that leave out documents which have nothing to sort by, and what those lack
PARTIAL = {"saved": "a label", "slowest": "a label", "worst": "a score", "best": "a score"}
YES_NO = ("yes", "no")
NOBODY, ANYBODY = "-", "*"
SPLITS = (*Split.values, "none")
MAX_CONDITIONS = 6
_WORDS = {"holdout": "choice of hold-out", "synthetic": "choice of synthetic"}
_TEXTS = {"tag": 40, "source": 200, "wrong": 300, "by": 150, "assigned": 150}


@dataclass(frozen=True)
class Filters:
    """The filters that were understood; an empty one leaves everything.

    ``by`` and ``assigned`` are user names (``-`` nobody, ``*`` anybody), ``split`` is that of the newest dataset
    version (or ``none``), scores are per cent, ``imported`` the key of an import.
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
        """Whether anything is left out."""
        return replace(self, order="", errors=()) != Filters()

    @property
    def more(self) -> bool:
        """Whether one of the filters is set that the page folds away."""
        return bool(self.unfolded() or self.fields)

    def unfolded(self) -> list[str]:
        """Names of the folded filters that are set."""
        names = ("assigned", "holdout", "split", "source", "synthetic", "below", "above", "wrong")
        return [name for name in names if getattr(self, name) not in ("", None)]

    def pairs(self) -> list[tuple[str, str]]:
        """The filters as parameters of an address; what is empty is left out."""
        found = [
            (name, f"{value:g}" if isinstance(value, float) else value)
            for name in ("q", "state", "by", "assigned", "tag", "holdout", "split", "source", "imported", "synthetic")
            if (value := getattr(self, name))
        ]
        found += [(name, f"{value:g}") for name in ("below", "above") if (value := getattr(self, name)) is not None]
        found += [("wrong", self.wrong)] if self.wrong else []
        for condition in self.fields:
            found += [("field", condition.field), ("op", condition.op), ("value", condition.typed)]
        return found + ([("order", self.order)] if self.order else [])

    def query(self) -> str:
        """The filters as a query string, always in the same order."""
        return urlencode(self.pairs())

    def without(self, name: str, value: Any = None) -> "Filters":
        """The same without one filter; for ``fields`` without the condition ``value``."""
        if name == "fields":
            return replace(self, fields=tuple(item for item in self.fields if item != value))
        empty: dict[str, Any] = {name: None if name in ("below", "above") else ""}
        return replace(self, **empty)


def read_filters(parameters: QueryDict, compiled: CompiledSchema) -> Filters:
    """The filters of an address. What is not understood is left out; where that could mislead, ``errors`` says so."""
    values: dict[str, Any] = {"q": _text(parameters, "q", 200)}
    values |= {name: _text(parameters, name, most) for name, most in _TEXTS.items()}
    values["imported"] = _key(parameters.get("imported", ""))
    errors: list[str] = []
    for name, allowed in _choices().items():
        given = parameters.get(name, "")
        values[name] = given if given in allowed else ""
        if given and not values[name]:
            errors.append(f"There is no {_WORDS.get(name, name)} {given[:40]!r}, so it was left out.")
    for name in ("below", "above"):
        try:
            values[name] = _share(parameters.get(name, ""))
        except ValueError:
            errors.append(f"Score {name}: a share from 0 to 100 per cent is wanted; the filter was left out.")
    conditions: list[FieldCondition] = []
    triples = _triples(parameters)
    if len(triples) > MAX_CONDITIONS:
        errors.append(f"At most {MAX_CONDITIONS} fields are asked at once; the others were left out.")
    for pattern, op, typed in triples[:MAX_CONDITIONS]:
        try:
            condition = read_condition(compiled, pattern, op, typed)
        except UnreadableFilter as error:
            errors.append(str(error))
        else:
            if condition not in conditions:
                conditions.append(condition)
    return Filters(**values, fields=tuple(conditions), errors=tuple(errors))


def read_query(query: str, compiled: CompiledSchema) -> Filters:
    """The filters of a query string, as a saved view or a run keeps it."""
    return read_filters(QueryDict(query), compiled)


def _choices() -> Mapping[str, Sequence[str]]:
    return {
        "state": DocumentState.values,
        "holdout": YES_NO,
        "synthetic": YES_NO,
        "split": SPLITS,
        "order": list(ORDERS),
    }


def _text(parameters: QueryDict, name: str, most: int) -> str:
    return parameters.get(name, "").replace("\x00", "").strip()[:most]


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


def _triples(parameters: QueryDict) -> list[tuple[str, str, str]]:
    """Field, comparison and value of every condition; an empty field is a row of the form that nobody filled in."""
    fields, ops, values = (parameters.getlist(name) for name in ("field", "op", "value"))
    size = len(fields)
    ops, values = [*ops, *[""] * size][:size], [*values, *[""] * size][:size]
    rows = zip(fields, ops, values, strict=True)
    return [(pattern, op, value) for pattern, op, value in rows if pattern]
