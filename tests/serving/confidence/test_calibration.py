"""Calibrated confidence: monotone, close to the truth, and honest about few samples; thresholds and what they prove."""

import json
import random
from dataclasses import asdict

import pytest

from serving.confidence.calibration import (
    ENOUGH,
    AnsweredDocument,
    ConfidenceCalibration,
    DocumentRecord,
    FieldRecord,
    JudgedField,
    calibrate,
    calibration_error,
    cross_fitted,
    fit,
    proven,
    thresholds,
)


def drawn(number: int, seed: int, *, pattern: str = "total", power: float = 2.0) -> list[JudgedField]:
    """Values whose true probability of being correct is their token probability to a power."""
    rng = random.Random(seed)
    samples = []
    for _ in range(number):
        minimum = rng.betavariate(3, 1)
        samples.append(JudgedField(pattern, minimum, False, rng.random() < minimum**power))
    return samples


@pytest.mark.parametrize(("number", "tolerance"), [(100, 0.09), (1_000, 0.05)])
def test_it_corrects_an_overconfident_model(number: int, tolerance: float) -> None:
    calibration, others = fit(drawn(number, 1)), drawn(2_000, 2)
    assert calibration_error([(sample.probability or 0.0, sample.is_correct) for sample in others]) > 0.1
    better = [
        (calibration.probability("total", sample.probability or 0.0, False), sample.is_correct) for sample in others
    ]
    assert calibration_error(better) < tolerance


def test_values_and_nulls_are_apart_and_rare_fields_use_all_fields() -> None:
    samples = drawn(500, 4) + [JudgedField("note", 0.99, False, False) for _ in range(ENOUGH - 1)]
    samples += [JudgedField("total", 0.9, True, number % 2 == 0) for number in range(200)]
    calibration = fit(samples)
    assert set(calibration.fits) == {"", "total", " null", "total null"}
    assert calibration.probability("note", 0.9, False) == calibration.probability("another", 0.9, False)
    assert 0.4 < calibration.probability("total", 0.9, True) < 0.6 < calibration.probability("total", 0.9, False)


def test_without_samples_it_is_the_token_probability_and_one_outcome_is_no_certainty() -> None:
    assert fit([]).probability("total", 0.7, False) == 0.7
    sure = fit([JudgedField("total", 0.95, False, True) for _ in range(ENOUGH)])
    assert 0.9 < sure.probability("total", 0.95, False) < 1.0
    stored = json.loads(json.dumps(asdict(sure)))
    assert ConfidenceCalibration({key: tuple(maps) for key, maps in stored["fits"].items()}).fits == sure.fits


def test_left_out_documents_are_not_in_their_own_fit() -> None:
    """One outcome by document: a fit that has seen them separates them, one that has not cannot."""
    samples = [(f"d{number}", JudgedField("total", 0.5, False, number % 2 == 0)) for number in range(200)]
    assert all(0.4 < confidence < 0.6 for confidence in cross_fitted(samples))


def record(name: int, confidence: float, wrong: int = 0, **changes: bool) -> DocumentRecord:
    fields = (FieldRecord("total", confidence, confidence, is_null=False, is_correct=not wrong, served=confidence),)
    return DocumentRecord(f"d{name}", changes.get("is_valid", True), changes.get("holds", True), wrong, 4, fields)


def sure_and_unsure(sure: int, unsure: int) -> list[DocumentRecord]:
    """Documents without an error, and less sure ones of which each second has one."""
    right = [record(number, 0.99) for number in range(sure)]
    return [*right, *(record(sure + number, 0.6, number % 2) for number in range(unsure))]


def test_a_proven_threshold_leaves_the_unsure_out() -> None:
    rows = thresholds(sure_and_unsure(400, 100), price=0.5, rest_is_right=True)
    best = proven(rows, 0.01)
    assert best is not None
    assert (best.threshold, best.automatic, best.wrong, best.share, best.accuracy) == (0.99, 400, 0, 0.8, 1.0)
    assert best.bound <= 0.01
    assert best.cost == pytest.approx(100.0)
    assert (rows[-1].automatic, rows[-1].wrong, rows[-1].cost, rows[-1].accuracy) == (500, 50, 0.0, 0.9)
    assert proven(rows, 0.001) is None
    assert proven([], 0.1) is None


def test_a_larger_model_errs_and_without_its_outputs_only_automatic_answers_count() -> None:
    records = sure_and_unsure(80, 20)
    larger = {record.name: number % 4 != 0 for number, record in enumerate(records)}
    assert thresholds(records, rest_exact=larger)[0].accuracy == pytest.approx((80 + 15) / 100)
    assert thresholds(records)[0].accuracy == 1.0


def test_invalid_outputs_and_violations_are_never_automatic() -> None:
    records = [record(1, 0.99), record(2, 0.99, is_valid=False), record(3, 0.99, holds=False)]
    [only] = thresholds(records)
    assert (only.automatic, only.documents) == (1, 3)


@pytest.mark.slow
def test_a_proven_threshold_holds_on_new_documents() -> None:
    """Of the thresholds that are claimed, at most about 5% exceed the budget."""
    claimed = exceeded = 0
    for seed in range(120):
        rng = random.Random(seed)
        confidences = [round(rng.betavariate(9, 1), 3) for _ in range(400)]
        records = [record(at, value, int(rng.random() > value)) for at, value in enumerate(confidences)]
        best = proven(thresholds(records), 0.05)
        if best is not None:
            claimed += 1
            t = best.threshold
            exceeded += 1 - 9 / 10 * (1 - t**10) / (1 - t**9) > 0.05
    assert claimed > 60
    assert exceeded / claimed <= 0.1


@pytest.mark.slow
def test_thresholds_are_of_confidences_as_they_are_served() -> None:
    """About as many new documents are below a threshold as the validation documents say."""
    rng = random.Random(1_000)

    def answered(name: int) -> AnsweredDocument:
        minimum = rng.betavariate(8, 1)
        return AnsweredDocument(str(name), [JudgedField("queue", minimum, False, rng.random() < minimum**3)])

    differences = []
    for _ in range(12):
        calibration, records = calibrate([answered(name) for name in range(400)])
        row = min(thresholds(records), key=lambda row: abs(row.share - 0.75))
        new = [(answered(name).fields or [])[0].probability or 0.0 for name in range(1_000)]
        served = [round(calibration.probability("queue", value, False), 4) for value in new]
        differences.append(abs(sum(value >= row.threshold for value in served) / 1_000 - row.share))
    assert sum(differences) / len(differences) < 0.04, differences


def test_records_count_what_has_a_value() -> None:
    fields = [
        JudgedField("number", 0.9, False, is_correct=True), JudgedField("total", 0.9, False, is_correct=False),
        JudgedField("note", 0.9, True, is_correct=True, is_empty=True),
        JudgedField("items[].name", None, False, is_correct=False),
    ]  # fmt: skip
    _, [valid, invalid] = calibrate([AnsweredDocument("a", fields), AnsweredDocument("b", None)])
    assert (valid.wrong, valid.counted, len(valid.fields)) == (2, 3, 3)
    assert DocumentRecord.from_json(valid.to_json()) == valid
    assert (invalid.is_valid, invalid.confidence) == (False, 0.0)
