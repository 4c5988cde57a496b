"""Sums over scored documents: rates with intervals, precision and recall, counts of outcomes and errors."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rapidfuzz.distance import Levenshtein

from slmstudio import intervals
from slmstudio.contract.scoring.outcomes import EXTRA_KEYS

if TYPE_CHECKING:
    from slmstudio import intervals
from slmstudio.contract.scoring.outcomes import DocumentScore, FieldOutcome, FreeText

# Of longer texts only the beginning is compared letter by letter.
_MAX_LENGTH = 2_000


def wilson(k: int, n: int) -> dict[str, Any]:
    """``k`` of ``n`` as a rate with its two-sided 95% Wilson score interval (Wilson 1927); None if n is 0."""
    if not n:
        return {"k": k, "n": n, "rate": None, "low": None, "high": None}
    rate = k / n
    low, high = intervals.wilson(rate, n)
    return {"k": k, "n": n, "rate": rate, "low": low, "high": high}


def f1(correct: int, given: int, wanted: int) -> dict[str, Any]:
    """Precision (correct of given), recall (correct of gold) and their harmonic mean; None if the denominator is 0."""
    precision = correct / given if given else None
    recall = correct / wanted if wanted else None
    total = given + wanted
    return {"precision": precision, "recall": recall, "f1": 2 * correct / total if total else None}


def _counts(fields: Iterable["FieldOutcome"]) -> tuple[int, int, int]:
    """(correct, given, gold): an unscorable output counts as giving all gold values, and giving them wrong."""
    correct = given = wanted = 0
    for field in fields:
        correct += field.outcome == "correct"
        given += field.output is not None or field.outcome in ("unscorable", "extra")
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


def macro_average(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Precision, recall and F1, each the mean over the rows that have it."""
    result: dict[str, float | None] = {}
    listed = list(rows)
    for name in ("precision", "recall", "f1"):
        values = [row[name] for row in listed if row[name] is not None]
        result[name] = sum(values) / len(values) if values else None
    return result


def anls(gold: str, output: str) -> float:
    """Normalized Levenshtein similarity ignoring case, 0 if below 0.5 (Biten et al. 2019, Scene Text VQA)."""
    similarity = Levenshtein.normalized_similarity(gold.casefold(), output.casefold())
    return similarity if similarity >= 0.5 else 0.0


def _mean_anls(fields: Iterable["FieldOutcome | FreeText"]) -> float | None:
    """The mean over the gold texts, verbatim."""
    total = 0.0
    count = 0
    for field in fields:
        if isinstance(field.gold, str):
            count += 1
            if field.gold == field.output:
                total += 1
            elif isinstance(field.output, str):
                total += anls(field.gold[:_MAX_LENGTH], field.output[:_MAX_LENGTH])
    return total / count if count else None


def tree_similarity(fields: Iterable["FieldOutcome"]) -> float:
    """The similarity of output and gold as trees: 1 minus the cost of the edits divided by the size of gold.

    Costs are those of CORD's tree score (``protocols.cord``): a letter 1, a name 1. But every value stays at its schema
    path, rows are compared with their paired row, and a correct value costs nothing however it is written. Zero if the
    edits cost more than gold's size.
    """
    cost = size = 0
    for field in fields:
        wanted = 0 if field.gold is None else 1 + len(str(field.gold))
        size += wanted
        if field.outcome == "correct":
            continue
        if field.gold is None or field.output is None:
            cost += wanted if field.output is None else 1 + len(str(field.output))
        else:
            cost += Levenshtein.distance(str(field.gold)[:_MAX_LENGTH], str(field.output)[:_MAX_LENGTH])
    return max(0.0, 1 - cost / size) if size else float(not cost)


def _free(scores: Iterable["DocumentScore"]) -> dict[str, Any]:
    """Free-text fields: the number of texts in gold, and their character similarity."""
    by_pattern: dict[str, list[FreeText]] = {}
    for score in scores:
        for one in score.free:
            by_pattern.setdefault(one.field, []).append(one)
    return {
        pattern: {"n": sum(isinstance(row.gold, str) for row in rows), "anls": _mean_anls(rows)}
        for pattern, rows in by_pattern.items()
    }


def summarize(scores: Sequence["DocumentScore"]) -> dict[str, Any]:
    """JSON-ready scores of many documents.

    ``field_exact`` counts correct fields among all but those missing on both sides. ``micro`` and ``macro`` (mean over
    fields) are precision over the output values, recall over the gold values. Invalid outputs are in every ``n`` and in
    every denominator, that of precision too. Fields that are not in the schema count as wrong output values in all
    scores except those by field and their mean. ``invariants_hold`` has no documents if the schema declares none.
    ``anls`` (over texts), ``tree`` (mean of ``tree_similarity``) and ``free`` are secondary: no gate uses them.
    """
    by_pattern: dict[str, list[FieldOutcome]] = {}
    for score in scores:
        for field in score.fields:
            by_pattern.setdefault(field.field, []).append(field)
    everything = [field for fields in by_pattern.values() for field in fields]
    outcomes = Counter(field.outcome.value for field in everything)
    checked = [score.invariants_hold for score in scores if score.invariants_hold is not None]
    n = len(scores)
    per_field = _per_field({name: fields for name, fields in by_pattern.items() if name != EXTRA_KEYS})

    def rate(name: str) -> dict[str, Any]:
        return wilson(sum(map(attrgetter(name), scores)), n)

    invented = sum(any(field.outcome == "hallucinated" for field in score.fields) for score in scores)
    return {
        "documents": n,
        "valid_json": rate("valid_json"),
        "schema_valid": rate("schema_valid"),
        "required_present": rate("required_present"),
        "no_extra_keys": rate("no_extra_keys"),
        "document_exact": rate("exact"),
        "invariants_hold": wilson(sum(checked), len(checked)),
        "field_exact": wilson(outcomes["correct"], len(everything) - outcomes["both_absent"]),
        "hallucinated": wilson(invented, n),
        "outcomes": dict(outcomes),
        "errors": dict(Counter(field.error for field in everything if field.error).most_common()),
        "per_field": per_field,
        "micro": f1(*_counts(everything)),
        "macro": macro_average(per_field.values()),
        "anls": _mean_anls(field for field in everything if field.field != EXTRA_KEYS),
        "tree": sum(tree_similarity(score.fields) for score in scores) / n if n else None,
        "free": _free(scores),
    }
