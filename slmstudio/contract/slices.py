"""How parts of a run did: the documents with a failure tag, those with a value in their metadata."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmstudio.contract.summary import wilson

if TYPE_CHECKING:
    from slmstudio.contract.outcomes import DocumentScore

MOST_KEYS = 12
MOST_VALUES = 30
LONGEST_VALUE = 60


def slices(scores: Sequence["DocumentScore"], labels: Sequence[Iterable[str]]) -> dict[str, Any]:
    """Figures of the documents that bear each label, by label; ``labels`` in the order of ``scores``.

    A document bears any number of labels. Each slice has ``documents``, ``schema_valid``, ``field_exact`` and
    ``document_exact``, counted as in ``summarise``.
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
    """``slices`` by the values of each key of the documents' metadata: key -> value -> figures.

    Keys that tell parts of a run apart: with 2 to 30 different values of up to 60 characters, which are texts, numbers,
    yes or no; the first 12 by name.
    """
    found: dict[str, Any] = {}
    for key in sorted({key for one in metadata for key in one or ()}):
        values = [_as_text((one or {}).get(key)) for one in metadata]
        known = set(values) - {""}
        if len(found) < MOST_KEYS and 2 <= len(known) <= MOST_VALUES and max(map(len, known)) <= LONGEST_VALUE:
            found[key] = slices(scores, [[value] if value else [] for value in values])
    return found


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None or isinstance(value, list | dict) else str(value)
