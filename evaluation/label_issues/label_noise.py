"""What a model says where somebody doubts gold, and how much of an error was the label's. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from evaluation.scores.score_view import CORRECT_OUTCOMES
from slmstudio.contract.schema.structure import split

_NOTHING = object()


def proposal(gold: Any, output: Any, path: str) -> Any:
    """Gold with what a model said at ``path`` instead ("": all of it); gold itself where the model said nothing usable.

    Rows are paired in different ways by different readers, so of a path into a list the whole list is taken.
    """
    steps = [str(step) for step in takewhile(lambda step: isinstance(step, str), split(path))]
    if not isinstance(output, dict):
        return gold
    if not steps:
        return output
    value: Any = output
    for step in steps:
        value = value.get(step, _NOTHING) if isinstance(value, dict) else _NOTHING
    return _with(gold, steps, value)


def _with(value: Any, steps: list[str], new: Any) -> Any:
    """A copy of an object with ``new`` at a place below it; without that place where there is nothing new."""
    first, *rest = steps
    here = dict(value) if isinstance(value, dict) else {}
    if rest:
        if new is _NOTHING and not isinstance(here.get(first), dict):
            return here
        here[first] = _with(here.get(first), rest, new)
    elif new is not _NOTHING:
        here[first] = new
    elif here.get(first) is not None:
        del here[first]
    return here


@dataclass
class FieldNoise:
    """Errors of one field before and after gold was corrected.

    ``mended`` and ``spoiled`` are those that went and came in documents whose gold changed: they were the label's.
    """

    before: int = 0
    after: int = 0
    mended: int = 0
    spoiled: int = 0


@dataclass
class Noise:
    """Errors by field (its pattern) before and after; ``corrected``: keys of the documents whose gold changed."""

    fields: dict[str, FieldNoise] = field(default_factory=dict)
    corrected: list[int] = field(default_factory=list)
    documents: int = 0

    def add(self, key: int, before: Mapping[str, Any] | None, after: Mapping[str, Any], *, corrected: bool) -> None:
        """Takes in one document: its two scores as they are stored, and whether its gold changed between them."""
        self.documents += 1
        if corrected:
            self.corrected.append(key)
        left, right = wrong_fields(before), wrong_fields(after)
        for pattern in left.keys() | right.keys():
            one = self.fields.setdefault(pattern, FieldNoise())
            gone = left[pattern] - right[pattern]
            one.before += left[pattern]
            one.after += right[pattern]
            if corrected:
                one.mended += max(0, gone)
                one.spoiled += max(0, -gone)

    def as_dict(self, most: int = 500) -> dict[str, Any]:
        """JSON-ready: totals, and the fields with the most errors of the label first; ``most`` keys of documents."""
        rows = sorted(self.fields.items(), key=lambda item: (-item[1].mended, -item[1].before, item[0]))
        names = ("before", "after", "mended", "spoiled")
        return {
            "documents": self.documents,
            "corrected": len(self.corrected),
            "keys": self.corrected[:most],
            **{name: sum(getattr(one, name) for one in self.fields.values()) for name in names},
            "fields": [{"field": pattern, **{name: getattr(one, name) for name in names}} for pattern, one in rows],
        }


def wrong_fields(score: Mapping[str, Any] | None) -> Counter[str]:
    """How often each field is wrong in a document."""
    rows: Iterable[Mapping[str, Any]] = (score or {}).get("fields", [])
    return Counter(str(row["field"]) for row in rows if str(row["outcome"]) not in CORRECT_OUTCOMES)
