"""Which requests are drawn."""

import uuid

import pytest

from serving.feedback import selection
from serving.feedback.selection import CONFIDENCE, FAILURE, FEEDBACK, UNIFORM, Rates

RATES = Rates(share=0.01, per_day=20, targeted_per_day=50)


@pytest.mark.parametrize(("reason", "seen", "probability"), [
    (UNIFORM, 10_000, 0.01), (UNIFORM, 1_000, 0.02), (UNIFORM, 10, 1.0), (UNIFORM, 0, 1.0),
    (FAILURE, 500, 0.1), (FAILURE, 20, 1.0), (FEEDBACK, 10_000, 1.0),
])  # fmt: skip
def test_the_probability_depends_on_how_many_there_are(reason: str, seen: int, probability: float) -> None:
    assert RATES.probability(reason, seen) == pytest.approx(probability)


def test_draws_have_their_probability_and_are_independent() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(20_000)]
    drawn = [selection.drawn(one, {UNIFORM: 0.1, CONFIDENCE: 0.3}) for one in ids]
    uniform = sum(UNIFORM in one for one in drawn) / len(ids)
    targeted = sum(CONFIDENCE in one for one in drawn) / len(ids)
    both = sum(len(one) == 2 for one in drawn) / len(ids)
    assert uniform == pytest.approx(0.1, abs=0.01)
    assert targeted == pytest.approx(0.3, abs=0.015)
    assert both == pytest.approx(0.03, abs=0.006)
    assert drawn[:50] == [selection.drawn(one, {UNIFORM: 0.1, CONFIDENCE: 0.3}) for one in ids[:50]]


def test_a_higher_probability_draws_more_of_the_same() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(500)]
    few = {one for one in ids if selection.drawn(one, {UNIFORM: 0.1})}
    assert few < {one for one in ids if selection.drawn(one, {UNIFORM: 0.4})}


def test_the_worst_come_first() -> None:
    order = [
        selection.severity([FEEDBACK, UNIFORM], 0.9), selection.severity([FAILURE], None),
        selection.severity([CONFIDENCE], 0.1), selection.severity([CONFIDENCE], 0.8),
        selection.severity([UNIFORM], 0.1),
    ]  # fmt: skip
    assert order == sorted(order, reverse=True)
    assert len(set(order)) == len(order)
    assert all(0 <= one <= 1 for one in order)
    assert selection.ordered([UNIFORM, FEEDBACK, UNIFORM]) == [FEEDBACK, UNIFORM]
