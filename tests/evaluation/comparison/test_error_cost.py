"""What errors cost: by hand, against the baseline, and how often the intervals miss."""

from typing import Any

import numpy as np
import pytest

from evaluation.approvals.error_cost import Amount, error_costs, mean_cost, mean_difference

COSTS = {"total": 5.0, "date": 1.0, "note": 0.0}


def score(**outcomes: str) -> dict[str, Any]:
    """A stored score with these outcomes by field."""
    rows = [{"field": name, "outcome": outcome, "gold": "a", "output": "a"} for name, outcome in outcomes.items()]
    return {"exact": False, "schema_valid": True, "fields": rows}


RIGHT = score(total="correct", date="correct", note="wrong")
WRONG_TOTAL = score(total="wrong", date="both_absent", note="correct")
UNREADABLE = score(total="unscorable", date="unscorable", note="unscorable")


def test_a_document_costs_what_its_wrong_fields_cost() -> None:
    found = error_costs(COSTS, {1: RIGHT, 2: WRONG_TOTAL, 3: UNREADABLE, 4: RIGHT})
    assert found is not None
    assert found.candidate.value == pytest.approx((0 + 5 + 6 + 0) / 4)
    assert found.candidate.low < found.candidate.value < found.candidate.high <= 6
    assert (found.baseline, found.difference) == (None, None)
    assert [(row.field, row.cost, row.candidate_errors) for row in found.fields] == [("total", 5, 2), ("date", 1, 1)]


def test_baseline_is_compared_on_shared_documents() -> None:
    found = error_costs(COSTS, {1: RIGHT, 2: RIGHT, 3: RIGHT}, {1: WRONG_TOTAL, 2: RIGHT, 9: UNREADABLE})
    assert found is not None
    assert found.documents == 2
    assert found.baseline is not None
    assert found.difference is not None
    assert (found.candidate.value, found.baseline.value, found.difference.value) == (0, 2.5, -2.5)
    assert [row.baseline_errors for row in found.fields] == [1, 0]


@pytest.mark.parametrize(("costs", "scores"), [({}, {1: RIGHT}), ({"total": 0.0}, {1: RIGHT}), (COSTS, {})])
def test_nothing_to_count_is_no_amount(costs: dict[str, float], scores: dict[int, Any]) -> None:
    assert error_costs(costs, scores) is None


def test_no_error_among_few_documents_is_no_promise() -> None:
    few, many = mean_cost([0.0] * 20, 10.0), mean_cost([0.0] * 2000, 10.0)
    assert few.low == many.low == 0.0
    assert few.high == pytest.approx(10 * (1 - 0.025 ** (1 / 20)))
    assert many.high < 0.02


def test_a_much_cheaper_model_is_recognised() -> None:
    rng = np.random.default_rng(1)
    before, after = (
        [float(cost) for cost in rng.binomial(8, 0.4, 80)],
        [float(cost) for cost in rng.binomial(8, 0.1, 80)],
    )
    found = mean_difference(before, after)
    assert found.value == pytest.approx(sum(after) / 80 - sum(before) / 80)
    assert found.low < found.value < found.high < 0
    back = mean_difference(after, before)
    assert [back.low, back.high] == pytest.approx([-found.high, -found.low])


def test_amounts_grow_with_the_volume() -> None:
    assert Amount(1.0, 0.5, 2.0).times(1000) == Amount(1000, 500, 2000)


def test_the_interval_of_a_difference_says_so_where_there_is_none() -> None:
    """Two models alike: the interval leaves out 0 at most one time in twenty."""
    rng = np.random.default_rng(6)
    missed = 0
    for _ in range(60):
        found = mean_difference(
            [float(cost) for cost in rng.binomial(4, 0.2, 80)], [float(cost) for cost in rng.binomial(4, 0.2, 80)]
        )
        missed += not found.low <= 0 <= found.high
    assert missed / 60 <= 0.05 + 2 * (0.05 * 0.95 / 60) ** 0.5


def test_costs_of_families_are_less_certain_than_those_of_documents() -> None:
    scores = {key: WRONG_TOTAL if key < 5 else RIGHT for key in range(60)}
    families = {key: key // 5 for key in scores}
    baseline = dict.fromkeys(scores, WRONG_TOTAL)
    alone, together = error_costs(COSTS, scores, baseline), error_costs(COSTS, scores, baseline, families=families)
    assert alone is not None
    assert alone.difference is not None
    assert together is not None
    assert together.difference is not None
    assert together.candidate.value == alone.candidate.value
    assert together.candidate.high > alone.candidate.high
    assert together.difference.high > alone.difference.high
    assert error_costs(COSTS, scores, baseline, families={key: key for key in scores}) == alone
