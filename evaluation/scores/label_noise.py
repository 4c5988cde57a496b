"""Label noise: the candidate label of a challenge, and errors that a label correction resolves. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import takewhile
from typing import Any

from evaluation.scores.score_view import CORRECT_OUTCOMES
from slmstudio.contract.schema.structure import split

_NOTHING = object()


def candidate_label(gold: Any, output: Any, path: str) -> Any:
    """The gold label with the model's value at ``path`` ("": the whole output); gold itself without a usable output.

    A path into a list takes the whole list, because rows can be aligned in several ways.
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
    """A copy of an object with ``new`` at a path; without the path where there is no new value."""
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
class FieldLabelNoise:
    """Errors of one field before and after gold labels were corrected.

    ``resolved`` and ``introduced``: errors that disappeared and appeared in documents whose gold label changed.
    """

    before: int = 0
    after: int = 0
    resolved: int = 0
    introduced: int = 0


@dataclass
class LabelNoise:
    """Errors by field (its pattern) before and after; ``corrected``: keys of documents whose gold label changed."""

    fields: dict[str, FieldLabelNoise] = field(default_factory=dict)
    corrected: list[int] = field(default_factory=list)
    documents: int = 0

    def add(self, key: int, before: Mapping[str, Any] | None, after: Mapping[str, Any], *, corrected: bool) -> None:
        """Adds a document: its two stored scores, and whether its gold label changed between them."""
        self.documents += 1
        if corrected:
            self.corrected.append(key)
        left, right = wrong_fields(before), wrong_fields(after)
        for pattern in left.keys() | right.keys():
            noise = self.fields.setdefault(pattern, FieldLabelNoise())
            difference = left[pattern] - right[pattern]
            noise.before += left[pattern]
            noise.after += right[pattern]
            if corrected:
                noise.resolved += max(0, difference)
                noise.introduced += max(0, -difference)

    def as_dict(self, max_keys: int = 500) -> dict[str, Any]:
        """JSON-ready totals and fields, the most resolved errors first; at most ``max_keys`` document keys."""
        rows = sorted(self.fields.items(), key=lambda item: (-item[1].resolved, -item[1].before, item[0]))
        names = [figure.name for figure in fields(FieldLabelNoise)]
        return {
            "documents": self.documents,
            "corrected": len(self.corrected),
            "keys": self.corrected[:max_keys],
            **{name: sum(getattr(noise, name) for noise in self.fields.values()) for name in names},
            "fields": [{"field": pattern, **asdict(noise)} for pattern, noise in rows],
        }


def wrong_fields(score: Mapping[str, Any] | None) -> Counter[str]:
    """The number of errors of each field in a document."""
    rows: Iterable[Mapping[str, Any]] = (score or {}).get("fields", [])
    return Counter(str(row["field"]) for row in rows if str(row["outcome"]) not in CORRECT_OUTCOMES)
