"""Sums over scored documents: rates with intervals, counts of outcomes and errors, protocols of the literature."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any

from rapidfuzz.distance import Levenshtein

if TYPE_CHECKING:
    from slmstudio.contract.scoring import DocumentScore, FieldOutcome

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(k: int, n: int) -> dict[str, Any]:
    """``k`` of ``n`` as a rate with its two-sided 95 % Wilson score interval (Wilson 1927); None where n is 0."""
    if not n:
        return {"k": k, "n": n, "rate": None, "low": None, "high": None}
    rate = k / n
    middle = rate + _Z * _Z / (2 * n)
    half = _Z * sqrt(rate * (1 - rate) / n + _Z * _Z / (4 * n * n))
    scale = 1 + _Z * _Z / n
    low = 0.0 if k == 0 else max(0.0, (middle - half) / scale)
    high = 1.0 if k == n else min(1.0, (middle + half) / scale)
    return {"k": k, "n": n, "rate": rate, "low": low, "high": high}


def f1(correct: int, given: int, wanted: int) -> dict[str, Any]:
    """Precision (correct of given), recall (correct of wanted) and their harmonic mean; None where nothing counts."""
    precision = correct / given if given else None
    recall = correct / wanted if wanted else None
    total = given + wanted
    return {"precision": precision, "recall": recall, "f1": 2 * correct / total if total else None}


def _counts(fields: Iterable["FieldOutcome"]) -> tuple[int, int, int]:
    correct = given = wanted = 0
    for field in fields:
        correct += field.outcome == "correct"
        given += field.output is not None
        wanted += field.gold is not None
    return correct, given, wanted


def _per_field(by_pattern: dict[str, list["FieldOutcome"]]) -> dict[str, Any]:
    result = {}
    for pattern, fields in by_pattern.items():
        outcomes = Counter(field.outcome.value for field in fields)
        total = len(fields) - outcomes["both_absent"]
        result[pattern] = {
            **wilson(outcomes["correct"], total),
            **f1(*_counts(fields)),
            "outcomes": dict(outcomes),
            "errors": dict(Counter(field.error for field in fields if field.error)),
        }
    return result


def _macro(per_field: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in ("precision", "recall", "f1"):
        values = [row[name] for row in per_field.values() if row[name] is not None]
        result[name] = sum(values) / len(values) if values else None
    return result


def anls(gold: str, output: str) -> float:
    """Normalised Levenshtein similarity without case, 0 where it is below 0.5 (Biten et al. 2019, Scene Text VQA)."""
    similarity = Levenshtein.normalized_similarity(gold.casefold(), output.casefold())
    return similarity if similarity >= 0.5 else 0.0


def _mean_anls(fields: Iterable["FieldOutcome"]) -> float | None:
    total = 0.0
    count = 0
    for field in fields:
        if isinstance(field.gold, str):
            count += 1
            if field.outcome == "correct":
                total += 1
            elif isinstance(field.output, str):
                total += anls(field.gold[:2_000], field.output[:2_000])
    return total / count if count else None


def summarise(scores: Sequence["DocumentScore"]) -> dict[str, Any]:
    """JSON-ready figures of many documents.

    ``field_exact`` counts correct fields among all but those absent on both sides; invalid outputs are in every ``n``.
    ``invariants_hold`` counts only documents where invariants could be checked. ``micro`` and ``macro`` (mean over
    fields) are precision over the values given, recall over the values in gold. ``anls`` is secondary.
    """
    by_pattern: dict[str, list[FieldOutcome]] = {}
    for score in scores:
        for field in score.fields:
            by_pattern.setdefault(field.field, []).append(field)
    everything = [field for fields in by_pattern.values() for field in fields]
    outcomes = Counter(field.outcome.value for field in everything)
    checked = [score.invariants_hold for score in scores if score.invariants_hold is not None]
    n = len(scores)
    per_field = _per_field(by_pattern)
    return {
        "documents": n,
        "valid_json": wilson(sum(score.valid_json for score in scores), n),
        "schema_valid": wilson(sum(score.schema_valid for score in scores), n),
        "required_present": wilson(sum(score.required_present for score in scores), n),
        "no_extra_keys": wilson(sum(score.no_extra_keys for score in scores), n),
        "document_exact": wilson(sum(score.exact for score in scores), n),
        "invariants_hold": wilson(sum(checked), len(checked)),
        "field_exact": wilson(outcomes["correct"], len(everything) - outcomes["both_absent"]),
        "hallucinated": wilson(
            sum(any(field.outcome == "hallucinated" for field in score.fields) for score in scores), n
        ),
        "outcomes": dict(outcomes),
        "errors": dict(Counter(field.error for field in everything if field.error).most_common()),
        "per_field": per_field,
        "micro": f1(*_counts(everything)),
        "macro": _macro(per_field),
        "anls": _mean_anls(everything),
    }


def confusion(scores: Iterable["DocumentScore"], pattern: str) -> dict[str, Any]:
    """Confusion matrix of one class field: ``matrix[gold][output]`` counts, per class precision, recall and F1.

    Absent values and invalid outputs are counted under "" (no decision); ``decided`` is the share of documents with a
    decision, the routing decision rate.
    """
    matrix: dict[str, Counter[str]] = {}
    for score in scores:
        for field in score.fields:
            if field.field == pattern:
                gold, output = ("" if value is None else str(value) for value in (field.gold, field.output))
                matrix.setdefault(gold, Counter())[output] += 1
    names = sorted({name for gold, row in matrix.items() for name in (gold, *row)} - {""})
    given = Counter[str]()
    for row in matrix.values():
        given.update(row)
    classes = {
        name: f1(matrix.get(name, Counter())[name], given[name], sum(matrix.get(name, Counter()).values()))
        for name in names
    }
    total = sum(given.values())
    return {
        "matrix": {gold: dict(row) for gold, row in sorted(matrix.items())},
        "classes": classes,
        "decided": wilson(total - given[""], total),
    }


SROIE_FIELDS = ("company", "date", "address", "total")


def sroie(
    pairs: Iterable[tuple[dict[str, Any], dict[str, Any] | None]], fields: Sequence[str] = SROIE_FIELDS
) -> dict[str, Any]:
    """Entity precision, recall and F1 as in SROIE task 3 (Huang et al., ICDAR 2019): pairs of (gold, output).

    An entity is right where the two strings are equal, byte for byte. Precision is over non-empty output entities,
    recall over gold entities, summed over all documents and fields. An invalid output (None) costs recall only.

    Pitfalls when holding the figure against others: the leader board's text is cleaned of OCR errors in part, so
    results from a raw OCR text are lower; some papers strip blanks and case first; some leave receipts without an
    address out; values that are not strings (12.5) never equal a gold string, write them as text first.
    """
    correct = given = wanted = 0
    per_field: dict[str, Counter[str]] = {name: Counter() for name in fields}
    for gold, output in pairs:
        for name in fields:
            target = gold.get(name)
            value = output.get(name) if isinstance(output, dict) else None
            counts = per_field[name]
            counts["wanted"] += target not in (None, "")
            counts["given"] += value not in (None, "")
            counts["correct"] += target not in (None, "") and isinstance(value, str) and value == target
    for counts in per_field.values():
        correct, given, wanted = correct + counts["correct"], given + counts["given"], wanted + counts["wanted"]
    return {
        **f1(correct, given, wanted),
        "correct": correct,
        "given": given,
        "wanted": wanted,
        "per_field": {name: f1(c["correct"], c["given"], c["wanted"]) for name, c in per_field.items()},
    }


def _flatten(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for name, item in value.items() for pair in _flatten(item, f"{path}.{name}" if path else name)]
    if isinstance(value, list):
        return [pair for item in value for pair in _flatten(item, path)]
    return [] if value is None or value == "" else [(path, str(value).strip())]


def cord(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """Flattened F1 as is usual for CORD (Kim et al. 2022, Donut): every leaf is a (path, string) pair, rows lose their
    number, and the two bags of pairs are compared.

    Pitfall: because rows lose their number, a price on the wrong line counts as right.
    """
    correct = given = wanted = 0
    for gold, output in pairs:
        left, right = Counter(_flatten(gold)), Counter(_flatten(output))
        correct += (left & right).total()
        given += right.total()
        wanted += left.total()
    return {**f1(correct, given, wanted), "correct": correct, "given": given, "wanted": wanted}
