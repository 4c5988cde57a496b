"""Failure modes: how every tag and every metadata slice did before and after. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.comparison.document_columns import LETTERS, Cases
from evaluation.stats import benjamini_hochberg, mcnemar_exact
from slmstudio import intervals
from slmstudio.contract.scoring.summary import wilson


@dataclass(frozen=True)
class Tally:
    """Fields of one document in one run: how many count, and how many of them are right."""

    right: int
    counted: int

    @property
    def share(self) -> float:
        """The share that is right; 1 where nothing counts."""
        return self.right / self.counted if self.counted else 1.0


def fields_right(tallies: Sequence[Tally]) -> dict[str, Any]:
    """The rate of right fields with a 95 % interval in which the document is the unit: ``{k, n, rate, low, high}``.

    Wilson's interval with the effective number of fields in the place of their number: how many independent ones would
    vary as much as these do from document to document (the design effect, as in Korn and Graubard 1998). Where nothing
    varies, all right or none, the documents are counted as if each were one field.
    """
    right, counted = sum(one.right for one in tallies), sum(one.counted for one in tallies)
    told = wilson(right, counted)
    documents = sum(one.counted > 0 for one in tallies)
    if not documents:
        return told
    rate = right / counted
    effective = float(documents)
    if 0 < right < counted and documents > 1:
        spread = sum((one.right - rate * one.counted) ** 2 for one in tallies) * documents / (documents - 1)
        variance = spread / counted**2
        if variance > 0:
            effective = min(float(counted), rate * (1 - rate) / variance)
    low, high = intervals.wilson(rate, max(1.0, effective))
    return {**told, "low": low, "high": high}


def better_and_worse(before: Sequence[float], after: Sequence[float]) -> tuple[int, int, float]:
    """How many documents are better and worse after, and the exact sign test of that (McNemar's, where values are 0
    and 1)."""
    better = sum(b > a for a, b in zip(before, after, strict=True))
    worse = sum(b < a for a, b in zip(before, after, strict=True))
    return better, worse, mcnemar_exact(better, worse)


def mixed(change: float, better: int, worse: int) -> bool:
    """Whether a rate over fields went one way and most of the documents that moved did not: a document with many fields
    weighs more in the rate, and each counts once in the test.
    """
    return (better != worse or change != 0) and (better - worse) * change <= 0


def modes(cases: Cases, a: Sequence[Tally], b: Sequence[Tally]) -> list[dict[str, Any]]:
    """A row for every tag and every metadata slice, those that lost most first; the tallies are in the order of the
    cases.

    ``a`` and ``b``: rate of right fields with its interval. ``broken`` and ``fixed``: whole documents. ``p_value``:
    sign test over the documents whose share of right fields moved; ``p_adjusted`` after Benjamini and Hochberg over all
    rows, because slices are explored. ``mixed``: that test and the rate do not point the same way.
    """
    found = [_mode("tag", "", tag, cases.tagged(tag), cases, a, b) for tag in cases.tags]
    found += [_mode("metadata", key, value, places, cases, a, b) for key, value, places in cases.slices()]
    adjusted = benjamini_hochberg([row["p_value"] for row in found])
    rows = [{**row, "p_adjusted": p} for row, p in zip(found, adjusted, strict=True)]
    return sorted(rows, key=lambda row: (row["change"], row["fixed"] - row["broken"], row["key"], row["value"]))


def _mode(
    kind: str, key: str, value: str, places: Sequence[int], cases: Cases, a: Sequence[Tally], b: Sequence[Tally]
) -> dict[str, Any]:
    before, after = [a[place] for place in places], [b[place] for place in places]
    left, right = fields_right(before), fields_right(after)
    better, worse, p_value = better_and_worse([one.share for one in before], [one.share for one in after])
    states = [cases.state[place] for place in places]
    change = (right["rate"] or 0.0) - (left["rate"] or 0.0)
    return {
        "kind": kind,
        "key": key,
        "value": value,
        "n": len(places),
        "a": left,
        "b": right,
        "change": change,
        "broken": states.count(LETTERS["broken"]),
        "fixed": states.count(LETTERS["fixed"]),
        "better": better,
        "worse": worse,
        "mixed": mixed(change, better, worse),
        "p_value": p_value,
    }
