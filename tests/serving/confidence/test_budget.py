"""The limit of an error budget: proven where it is, expected where that is asked for, and what it costs."""

import random

import pytest

from serving.confidence.budget import Budget, choose, documents_to_prove, largest, points, what_if
from serving.confidence.records import AnsweredDocument, DocumentRecord, FieldRecord, calibrate
from serving.confidence.signals import JudgedField, Signals


def record(name: int, confidence: float, wrong: int = 0, counted: int = 4, **changes: bool) -> DocumentRecord:
    fields = (FieldRecord("total", confidence, confidence, is_null=False, is_correct=not wrong, served=confidence),)
    return DocumentRecord(f"d{name}", changes.get("is_valid", True), changes.get("holds", True), wrong, counted, fields)


def sure_and_unsure(sure: int, unsure: int) -> list[DocumentRecord]:
    """Documents without an error, and less sure ones of which each second has one."""
    right = [record(number, 0.99) for number in range(sure)]
    return [*right, *(record(sure + number, 0.6, number % 2) for number in range(unsure))]


@pytest.mark.parametrize("unit", ["field", "document"])
def test_the_limit_of_a_proven_budget_leaves_the_unsure_out(unit: str) -> None:
    found = points(sure_and_unsure(400, 100), unit)  # type: ignore[arg-type]
    limit = choose(found, Budget(1, 100, unit))  # type: ignore[arg-type]
    assert limit is not None
    assert (limit.limit, limit.accepted, limit.wrong) == (0.99, 400, 0)
    assert limit.bound <= 0.01
    assert limit.share == 0.8
    assert limit.share_interval[0] < 0.8 < limit.share_interval[1]


def test_what_is_not_proven_is_not_claimed() -> None:
    found = points(sure_and_unsure(400, 100), "document")
    assert choose(found, Budget(1, 1_000, "document")) is None
    assert documents_to_prove(Budget(1, 200)) == 598
    assert documents_to_prove(Budget(1, 1_000)) > 400
    assert choose([], Budget(1, 10)) is None


def test_an_expected_budget_needs_no_proof() -> None:
    records = [record(number, 0.999) for number in range(40)] + [record(99, 0.5, 1)]
    found = points(records, "document")
    assert choose(found, Budget(1, 200, "document")) is None
    limit = choose(found, Budget(1, 200, "document", "expected"))
    assert limit is not None
    assert limit.accepted == 40


def test_invalid_outputs_and_violations_are_never_automatic() -> None:
    records = [record(1, 0.99), record(2, 0.99, is_valid=False), record(3, 0.99, holds=False)]
    [only] = points(records, "field")
    assert (only.accepted, only.documents) == (1, 3)


@pytest.mark.slow
def test_a_proven_budget_holds_on_new_documents() -> None:
    """Of the limits that are claimed, at most about 5% exceed the budget."""
    budget = Budget(1, 20, "document")
    claimed = exceeded = 0
    for seed in range(120):
        rng = random.Random(seed)
        records = []
        for number in range(400):
            confidence = round(rng.betavariate(9, 1), 3)
            records.append(record(number, confidence, int(rng.random() > confidence)))
        limit = choose(points(records, "document"), budget)
        if limit is not None:
            claimed += 1
            t = limit.limit
            exceeded += 1 - 9 / 10 * (1 - t**10) / (1 - t**9) > budget.rate
    assert claimed > 60
    assert exceeded / claimed <= 0.1


def answered(number: int, seed: int) -> list[AnsweredDocument]:
    """Documents of one field; the true probability of being correct is the token probability to the third power."""
    rng = random.Random(seed)
    found = []
    for name in range(number):
        minimum = rng.betavariate(8, 1)
        field = JudgedField("queue", Signals(minimum), is_correct=rng.random() < minimum**3)
        found.append(AnsweredDocument(str(name), [field]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "tolerance"), [(220, 0.04), (400, 0.025)])
def test_limits_are_of_confidences_as_they_are_served(number: int, tolerance: float) -> None:
    """Calibration, limit, new documents: about as many are below the limit as the curve says, and a budget holds."""
    budget = Budget(1, 10, "document")
    new = [(one.fields or [])[0] for one in answered(1_000, 1_000)]
    differences, claimed, exceeded = [], 0, 0
    for seed in range(12):
        calibration, records = calibrate(answered(number, seed))
        served = [round(calibration.probability("queue", one.signals), 4) for one in new if one.signals]
        point = min(what_if(records), key=lambda one: abs(one.rest - 0.25))
        differences.append(abs(sum(one < point.limit for one in served) / len(served) - point.rest))
        limit = choose(points(records, "document"), budget)
        if limit is not None:
            claimed += 1
            kept = [not one.is_correct for one, at in zip(new, served, strict=True) if at >= limit.limit]
            exceeded += sum(kept) / len(kept) > budget.rate
    assert sum(differences) / len(differences) < tolerance, differences
    assert claimed > 2
    assert exceeded <= 1


def test_what_if_between_nothing_and_everything() -> None:
    records = sure_and_unsure(80, 20)
    curve = what_if(records, price=0.5, rest_is_right=True)
    assert (curve[0].rest, curve[0].cost, curve[0].accuracy) == (0.0, 0.0, 0.9)
    assert (curve[-1].rest, curve[-1].cost, curve[-1].accuracy) == (1.0, 500.0, 1.0)
    assert [one.rest for one in curve] == sorted(one.rest for one in curve)
    assert all(one.low <= one.accuracy <= one.high for one in curve)


def test_what_if_with_a_larger_model_that_errs() -> None:
    records = sure_and_unsure(80, 20)
    larger = {one.name: number % 4 != 0 for number, one in enumerate(records)}
    curve = what_if(records, rest_exact=larger)
    assert curve[-1].accuracy == 0.75
    assert curve[-1].cost is None
    alone = what_if(records)
    assert alone[-1].accuracy == 1.0  # of the automatic answers


def test_records_count_what_has_a_value() -> None:
    sure = Signals(0.9)
    fields = [
        JudgedField("number", sure, is_correct=True),
        JudgedField("total", sure, is_correct=False),
        JudgedField("note", Signals(0.9, is_null=True), is_correct=True, is_empty=True),
        JudgedField("items[].name", None, is_correct=False),
    ]
    _, [valid, invalid] = calibrate([AnsweredDocument("a", fields), AnsweredDocument("b", None)])
    assert (valid.wrong, valid.counted, len(valid.fields)) == (2, 3, 3)
    assert DocumentRecord.of_json(valid.to_json()) == valid
    assert (invalid.is_valid, invalid.confidence) == (False, 0.0)
    assert largest([valid, invalid], "field") == 6
    assert largest([valid], "document") == 1
