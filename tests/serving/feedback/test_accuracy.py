"""Live accuracy: unbiased, with intervals that cover, narrower with a good predictor, and its forecast."""

import random
from collections.abc import Callable

import pytest

from serving.feedback.accuracy import (
    HORVITZ_THOMPSON,
    PREDICTION_POWERED,
    Estimate,
    Sampled,
    Traffic,
    estimate,
    field_accuracy,
    forecast,
)

Response = Callable[[random.Random, bool], float]


def certain(rng: random.Random, is_targeted: bool) -> float:
    return 1.0


def draw(
    rng: random.Random, requests: int, accuracy: float, *, informed: bool, response: Response = certain
) -> tuple[list[Sampled], Traffic]:
    """A period of traffic: half of it is drawn at one share and half at another; low confidence is also targeted."""
    sample, total, squares = [], 0.0, 0.0
    for number in range(requests):
        if informed:
            chance = rng.choice((0.995, 0.6)) if rng.random() < 0.8 else accuracy
            chance = min(1.0, chance + accuracy - (0.8 * 0.7975 + 0.2 * accuracy))
            predictor = max(0.0, min(1.0, chance + rng.gauss(0, 0.02)))
        else:
            chance, predictor = accuracy, rng.random()
        right = rng.random() < chance
        total, squares = total + predictor, squares + predictor**2
        probability = 0.03 if number % 2 else 0.08
        if rng.random() < probability:
            is_targeted = predictor < 0.7 and rng.random() < 0.7
            judged = rng.random() < response(rng, is_targeted)
            sample.append(Sampled(probability, right if judged else None, predictor, is_targeted))
    return sample, Traffic(requests, requests, total, squares)


@pytest.mark.parametrize(("accuracy", "informed"), [(0.82, True), (0.9, False), (0.97, False)])
def test_intervals_cover_the_accuracy(accuracy: float, informed: bool) -> None:
    rng, covered, found = random.Random(5), 0, 0
    values = []
    for _ in range(250):
        one = estimate(*draw(rng, 3_000, accuracy, informed=informed))
        assert one is not None
        values.append(one.value)
        found += one.method == PREDICTION_POWERED
        covered += one.low <= accuracy <= one.high
    assert covered / 250 >= 0.92  # three standard errors below 95%
    assert sum(values) / 250 == pytest.approx(accuracy, abs=0.01)
    assert (found > 200) == informed


def test_a_good_predictor_narrows_the_interval() -> None:
    rng, plain, powered = random.Random(7), 0.0, 0.0
    for _ in range(40):
        sample, traffic = draw(rng, 4_000, 0.8, informed=True)
        one, other = estimate(sample, traffic), estimate(sample, Traffic())
        assert one is not None
        assert other is not None
        assert (one.method, other.method) == (PREDICTION_POWERED, HORVITZ_THOMPSON)
        powered, plain = powered + one.half_width, plain + other.half_width
    assert powered < 0.93 * plain


def test_requests_that_are_judged_sooner_do_not_bias_it() -> None:
    def impatient(rng: random.Random, is_targeted: bool) -> float:
        return 0.95 if is_targeted else 0.3

    rng, values, naive = random.Random(9), [], []
    for _ in range(120):
        sample, _ = draw(rng, 4_000, 0.8, informed=True, response=impatient)
        found = estimate(sample, Traffic())
        assert found is not None
        values.append(found.value)
        judged = [one.right for one in sample if one.right is not None]
        naive.append(sum(judged) / len(judged))
    assert sum(values) / 120 == pytest.approx(0.8, abs=0.015)
    assert sum(naive) / 120 < 0.76


def test_weights_are_one_over_the_probability() -> None:
    sample = [Sampled(0.5, True), Sampled(0.1, False)]
    found = estimate(sample, Traffic())
    assert found is not None
    assert found.value == pytest.approx(2 / 12)
    assert found.effective == pytest.approx(144 / 104)


def test_without_judgments_there_is_no_estimate() -> None:
    assert estimate([Sampled(0.1), Sampled(0.1)], Traffic(10)) is None
    assert field_accuracy([Sampled(0.1, True)]) is None


def test_all_right_ends_at_one() -> None:
    found = estimate([Sampled(0.1, True, 0.9)] * 50, Traffic(500, 500, 450, 410))
    assert found is not None
    assert (found.value, found.high, found.method) == (1.0, 1.0, HORVITZ_THOMPSON)
    assert 0.9 < found.low < 0.95


def test_fields_of_a_request_are_one_observation() -> None:
    rows = [Sampled(0.1, True, correct=10, counted=10)] * 18 + [Sampled(0.1, False, correct=0, counted=10)] * 2
    clustered = field_accuracy(rows)
    spread = [Sampled(0.1, False, correct=9, counted=10)] * 20
    even = field_accuracy(spread)
    assert clustered is not None
    assert even is not None
    assert clustered.value == even.value == pytest.approx(0.9)
    assert clustered.effective < 25
    assert clustered.half_width > 1.5 * field_accuracy(rows * 10).half_width  # type: ignore[union-attr]


def test_the_forecast_is_kept() -> None:
    half = [Sampled(0.1, number % 10 != 0) for number in range(100)]
    found = estimate(half, Traffic())
    expected = forecast(found, per_day=20)
    assert expected.days == pytest.approx(expected.labels / 20)
    more = [Sampled(0.1, number % 10 != 0) for number in range(100 + expected.labels)]
    later = estimate(more, Traffic())
    assert later is not None
    assert later.half_width == pytest.approx(0.02, abs=0.0005)
    assert forecast(later, per_day=20, target=later.half_width).labels == 0


@pytest.mark.parametrize(("found", "days"), [(None, None), (Estimate(0.9, 0.8, 0.95, 50, 50, ""), None)])
def test_without_a_rate_the_forecast_has_no_days(found: Estimate | None, days: None) -> None:
    expected = forecast(found, per_day=0)
    assert expected.labels > 100
    assert expected.days is days
