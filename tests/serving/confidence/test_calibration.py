"""Calibrated confidence: monotone, close to the truth, and honest about few samples."""

import json
import random

import pytest

from serving.confidence.automation import Scored, augrc, calibration_error, curve, limit_for, reliability
from serving.confidence.calibration import ENOUGH, ISOTONIC, Calibration, Sample, cross_fitted, fit
from serving.confidence.signals import Signals, logit


def sample(pattern: str, minimum: float, is_null: bool, is_correct: bool, document: str = "") -> Sample:
    return Sample(pattern, Signals(minimum, is_null), is_correct, document)


def probability(calibration: Calibration, pattern: str, minimum: float, *, is_null: bool = False) -> float:
    return calibration.probability(pattern, Signals(minimum, is_null))


def drawn(number: int, seed: int, *, pattern: str = "total", power: float = 2.0) -> list[Sample]:
    """Values whose true probability of being correct is their token probability to a power."""
    rng = random.Random(seed)
    found = []
    for count in range(number):
        minimum = rng.betavariate(3, 1)
        found.append(sample(pattern, minimum, False, rng.random() < minimum**power, f"d{count}"))
    return found


@pytest.mark.parametrize(("number", "tolerance"), [(ISOTONIC // 2, 0.09), (4_000, 0.04)])
def test_it_corrects_an_overconfident_model(number: int, tolerance: float) -> None:
    calibration = fit(drawn(number, 1))
    others = drawn(4_000, 2)
    raw = [Scored(one.signals.minimum, one.is_correct) for one in others]
    better = [Scored(probability(calibration, "total", one.signals.minimum), one.is_correct) for one in others]
    assert calibration_error(raw) > 0.1
    assert calibration_error(better) < tolerance


@pytest.mark.parametrize("number", [ENOUGH, ISOTONIC, 1_000])
def test_more_probable_tokens_never_mean_less_confidence(number: int) -> None:
    calibration = fit(drawn(number, 3))
    found = [probability(calibration, "total", place / 100) for place in range(101)]
    assert found == sorted(found)
    assert all(0 < one < 1 for one in found)


def test_values_and_nulls_are_apart() -> None:
    values = [sample("total", 0.9, False, True) for _ in range(100)]
    nulls = [sample("total", 0.9, True, number % 2 == 0) for number in range(100)]
    calibration = fit([*values, *nulls])
    assert probability(calibration, "total", 0.9) > 0.9
    assert 0.4 < probability(calibration, "total", 0.9, is_null=True) < 0.6


def test_a_rare_field_uses_all_fields() -> None:
    samples = [*drawn(500, 4), *[sample("note", 0.99, False, False) for _ in range(ENOUGH - 1)]]
    calibration = fit(samples)
    assert "note" not in calibration.values.fits
    assert probability(calibration, "note", 0.9) == calibration.values.fits[""].probability(logit(0.9))


def test_without_samples_it_is_the_token_probability() -> None:
    assert probability(fit([]), "total", 0.7) == 0.7


def test_one_outcome_is_no_certainty() -> None:
    calibration = fit([sample("total", 0.95, False, True) for _ in range(ENOUGH)])
    assert 0.9 < probability(calibration, "total", 0.95) < 1.0


def test_it_is_stored_as_json() -> None:
    for number in (100, 1_000):
        calibration = fit(drawn(number, 5))
        assert Calibration.of(json.loads(json.dumps(calibration.as_dict()))) == calibration


def test_left_out_documents_are_not_in_their_own_fit() -> None:
    """One outcome by document: a fit that has seen them separates them, one that has not cannot."""
    samples = [sample("total", 0.5, False, number % 2 == 0, f"d{number}") for number in range(200)]
    found = cross_fitted(samples)
    assert len(found) == 200
    assert all(0.4 < one < 0.6 for one in found)


def test_being_in_the_document_counts_where_it_predicts() -> None:
    rng = random.Random(8)

    def of(found: bool, document: int) -> Sample:
        signals = Signals(rng.betavariate(8, 1), False, mean=0.9, length=6, found=found)
        return Sample("total", signals, rng.random() < (0.97 if found else 0.4), f"d{document}")

    calibration = fit([of(rng.random() < 0.7, number) for number in range(600)])
    assert calibration.values.weights
    inside = calibration.probability("total", Signals(0.95, False, mean=0.9, length=6, found=True))
    outside = calibration.probability("total", Signals(0.95, False, mean=0.9, length=6, found=False))
    assert inside > 0.9
    assert outside < 0.6
    assert not calibration.nulls.fits


def scored(number: int, seed: int) -> list[Scored]:
    rng = random.Random(seed)
    found = []
    for _ in range(number):
        confidence = rng.betavariate(4, 1)
        found.append(Scored(confidence, rng.random() < confidence))
    return found


def test_the_diagram_of_a_calibrated_model_is_on_the_diagonal() -> None:
    rows = reliability(scored(5_000, 6))
    assert sum(row.count for row in rows) == 5_000
    assert sum(row.low <= row.confidence <= row.high for row in rows) >= 8


def test_the_curve_and_its_area() -> None:
    values = scored(2_000, 7)
    rows = curve(values)
    assert rows[-1].coverage == 1.0
    assert rows[-1].risk == sum(not one.is_correct for one in values) / 2_000
    assert [row.limit for row in rows] == sorted((row.limit for row in rows), reverse=True)
    perfect = [Scored(0.9, True)] * 50 + [Scored(0.1, False)] * 50
    random_order = [Scored(0.5, number % 2 == 0) for number in range(100)]
    assert augrc(perfect) < augrc(random_order)


def test_the_limit_for_an_error_rate_holds_on_new_values() -> None:
    """Of 200 draws, at most about 5% may exceed the rate (9.5% with the error of the simulation)."""
    exceeded = found = 0
    for seed in range(200):
        limit = limit_for(scored(1_000, seed), 0.05)
        if limit is None:
            continue
        found += 1
        # The true risk above a limit, from the distribution: E[1 - c | c >= limit] for Beta(4, 1).
        t = limit.limit
        accepted = 1 - t**4
        risk = 1 - 4 / 5 * (1 - t**5) / accepted
        exceeded += risk > 0.05
    assert found > 100
    assert exceeded / found <= 0.095


def test_no_limit_is_claimed_where_nothing_is_shown() -> None:
    assert limit_for(scored(40, 1), 0.01) is None
    assert limit_for([], 0.05) is None
    assert limit_for([Scored(0.9, False)] * 300, 0.05) is None
