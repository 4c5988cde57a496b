"""Live accuracy: unbiased, with intervals that cover."""

import random
from collections.abc import Callable

import pytest

from serving.review.accuracy import Sampled, estimates

Response = Callable[[random.Random, bool], float]


def draw(rng: random.Random, requests: int, accuracy: float, response: Response | None = None) -> list[Sampled]:
    """Half of the traffic is drawn at one rate and half at another; what is often wrong is also targeted."""
    sample = []
    for number in range(requests):
        is_targeted = rng.random() < 0.2
        chance = accuracy - 0.2 if is_targeted else accuracy + 0.05
        right = rng.random() < chance
        probability = 0.03 if number % 2 else 0.08
        if rng.random() < probability:
            judged = response is None or rng.random() < response(rng, is_targeted)
            sample.append(Sampled(probability, right if judged else None, is_targeted))
    return sample


@pytest.mark.parametrize("accuracy", [0.75, 0.94])
def test_intervals_cover_the_accuracy(accuracy: float) -> None:
    rng, covered, values = random.Random(5), 0, []
    for _ in range(250):
        exact, _ = estimates(draw(rng, 3_000, accuracy))
        assert exact is not None
        values.append(exact.value)
        covered += exact.low <= accuracy <= exact.high
    assert covered / 250 >= 0.92  # three standard errors below 95%
    assert sum(values) / 250 == pytest.approx(accuracy, abs=0.01)


def test_requests_that_are_judged_sooner_do_not_bias_it() -> None:
    rng, values, naive = random.Random(9), [], []
    for _ in range(120):
        sample = draw(rng, 4_000, 0.8, lambda rng, is_targeted: 0.95 if is_targeted else 0.3)
        exact, _ = estimates(sample)
        assert exact is not None
        values.append(exact.value)
        judged = [request.right for request in sample if request.right is not None]
        naive.append(sum(judged) / len(judged))
    assert sum(values) / 120 == pytest.approx(0.8, abs=0.015)
    assert sum(naive) / 120 < 0.76


def test_weights_are_one_over_the_probability() -> None:
    exact, _ = estimates([Sampled(0.5, True), Sampled(0.1, False)])
    assert exact is not None
    assert exact.value == pytest.approx(2 / 12)


def test_without_judgments_there_is_no_estimate() -> None:
    assert estimates([Sampled(0.1), Sampled(0.1)]) == (None, None)
    exact, fields = estimates([Sampled(0.1, True)] * 50)
    assert exact is not None
    assert (exact.value, exact.high, fields) == (1.0, 1.0, None)
    assert 0.9 < exact.low < 0.95


def test_fields_of_a_request_are_one_observation() -> None:
    rows = [Sampled(0.1, True, correct=10, counted=10)] * 18 + [Sampled(0.1, False, correct=0, counted=10)] * 2
    _, clustered = estimates(rows)
    _, even = estimates([Sampled(0.1, False, correct=9, counted=10)] * 20)
    assert clustered is not None
    assert even is not None
    assert clustered.value == even.value == pytest.approx(0.9)
    assert clustered.high - clustered.low > 0.2
