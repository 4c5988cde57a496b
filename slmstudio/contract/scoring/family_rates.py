"""Intervals of rates where documents come in families: documents of one supplier, say, are not independent."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slmstudio import intervals
from slmstudio.contract.scoring.outcomes import EXTRA_KEYS
from slmstudio.contract.scoring.summary import wilson

if TYPE_CHECKING:
    from slmstudio.contract.scoring.outcomes import DocumentScore

#: rates of ``summary.summarize`` over documents -> the attribute that they count
_DOCUMENTS = {
    "valid_json": "valid_json",
    "schema_valid": "schema_valid",
    "required_present": "required_present",
    "no_extra_keys": "no_extra_keys",
    "document_exact": "exact",
}
Row = tuple[Hashable, int, int]


def clustered(rows: Iterable[Row]) -> dict[str, Any]:
    """A rate with its interval where documents come in families, from (family, part, whole) of each document.

    ``summary.wilson`` with the effective number of observations in place of ``n`` where a family has several documents;
    then it also has ``effective``.
    """
    sums: dict[Hashable, tuple[int, int]] = {}
    documents = 0
    for family, part, whole in rows:
        if whole:
            old = sums.get(family, (0, 0))
            sums[family] = old[0] + part, old[1] + whole
            documents += 1
    found = wilson(sum(part for part, _ in sums.values()), sum(whole for _, whole in sums.values()))
    if documents == len(sums):
        return found
    effective = min(float(found["n"]), intervals.effective_number(list(sums.values())))
    low, high = intervals.wilson(found["rate"], effective)
    return {**found, "low": low, "high": high, "effective": effective}


def with_families(
    figures: Mapping[str, Any], scores: Sequence["DocumentScore"], families: Sequence[Hashable]
) -> dict[str, Any]:
    """The figures of ``summary.summarize`` with intervals over families: of all rates, and of each field."""
    rows: dict[str, list[Row]] = defaultdict(list)
    fields: dict[str, list[Row]] = defaultdict(list)
    for score, family in zip(scores, families, strict=True):
        for name, attribute in _DOCUMENTS.items():
            rows[name].append((family, int(getattr(score, attribute)), 1))
        if score.invariants_hold is not None:
            rows["invariants_hold"].append((family, int(score.invariants_hold), 1))
        rows["hallucinated"].append((family, int(any(row.outcome == "hallucinated" for row in score.fields)), 1))
        counted = [row for row in score.fields if row.outcome != "both_absent"]
        right = Counter(row.field for row in counted if row.outcome == "correct")
        total = Counter(row.field for row in counted)
        rows["field_exact"].append((family, right.total(), total.total()))
        for name, number in total.items():
            fields[name].append((family, right[name], number))
    per_field = {
        name: {**value, **clustered(fields[name])} for name, value in figures["per_field"].items() if name != EXTRA_KEYS
    }
    return {**figures, **{name: clustered(found) for name, found in rows.items()}, "per_field": per_field}
