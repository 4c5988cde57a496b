"""Scores of parts of a run: the documents with a failure tag, or with a metadata value."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmstudio.contract.scoring.summary import wilson

if TYPE_CHECKING:
    from slmstudio.contract.scoring.outcomes import DocumentScore

MAX_KEYS = 12
MAX_VALUES = 30
MAX_VALUE_LENGTH = 60
#: the name of the slice of all values without a slice of their own
OTHER = ""


def slices(scores: Sequence["DocumentScore"], labels: Sequence[Iterable[str]]) -> dict[str, Any]:
    """Scores of the documents with each label, by label; ``labels`` in the order of ``scores``.

    A document has any number of labels. Each slice has ``documents``, ``schema_valid``, ``field_exact`` and
    ``document_exact``, counted as in ``summarize``.
    """
    sums: dict[str, list[int]] = {}
    for score, borne in zip(scores, labels, strict=True):
        counted = [field.outcome for field in score.fields if field.outcome != "both_absent"]
        row = (1, score.schema_valid, score.exact, sum(outcome == "correct" for outcome in counted), len(counted))
        for label in set(borne):
            sums[label] = [old + new for old, new in zip(sums.get(label, (0,) * 5), row, strict=True)]
    return {
        label: {
            "documents": n,
            "schema_valid": wilson(valid, n),
            "field_exact": wilson(right, counted),
            "document_exact": wilson(exact, n),
        }
        for label, (n, valid, exact, right, counted) in sorted(sums.items())
    }


def metadata_slices(
    scores: Sequence["DocumentScore"], metadata: Sequence[Mapping[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """``slices`` by the values of each metadata key: key -> value -> scores.

    Values are texts, numbers and booleans. Up to 30 values of up to 60 characters are a slice each. If there are more,
    the 30 most frequent are, and the others form one slice, ``OTHER``. Keys that identify documents rather than group
    them have no slices: those whose values hardly any two documents share (a file name), and those beyond 12, by name,
    keys with all their values first.
    """
    named: dict[str, set[str]] = {}
    partly: dict[str, bool] = {}
    for key in sorted({key for one in metadata for key in one or ()}):
        counts = Counter(filter(None, _values(key, metadata)))
        if len(counts) > 1:
            named[key] = _named(counts)
            partly[key] = len(named[key]) < len(counts)
    shown = sorted((key for key, values in named.items() if values), key=lambda key: (partly[key], key))[:MAX_KEYS]
    found: dict[str, dict[str, Any]] = {key: {} for key in named}
    for key in shown:
        labels = [[value if value in named[key] else OTHER] if value else [] for value in _values(key, metadata)]
        found[key] = slices(scores, labels)
    return found


def _values(key: str, metadata: Sequence[Mapping[str, Any] | None]) -> list[str]:
    return [_as_text((one or {}).get(key)) for one in metadata]


def _named(counts: Counter[str]) -> set[str]:
    """The values that become slices: all if they are few and short, else the most frequent shared ones."""
    short = {value: count for value, count in counts.items() if len(value) <= MAX_VALUE_LENGTH}
    return set(short) if len(short) == len(counts) <= MAX_VALUES else set(top_shared_values(short))


def top_shared_values(counts: Mapping[str, int], most: int = MAX_VALUES) -> list[str]:
    """The most frequent of too many values, in order; never one of a single document."""
    shared = [value for value, count in counts.items() if count > 1]
    return sorted(shared, key=lambda value: (-counts[value], value))[:most]


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, list | dict) else str(value)
