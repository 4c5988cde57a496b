"""What errors cost: by hand, against the baseline, and how often the intervals miss."""

from typing import Any

import numpy as np
import pytest

from evaluation.approvals.error_cost import error_costs, mean_cost, mean_difference

COSTS = {"total": 5.0, "date": 1.0, "note": 0.0}


def score(**outcomes: str) -> dict[str, Any]:
    """A stored score with these outcomes by field."""
    rows = [{"field": name, "outcome": outcome, "gold": "a", "output": "a"} for name, outcome in outcomes.items()]
    return {"exact": False, "schema_valid": True, "fields": rows}


RIGHT = score(total="correct", date="correct", note="wrong")
WRONG_TOTAL = score(total="wrong", date="both_absent", note="correct")
UNREADABLE = score(total="unscorable", date="unscorable", note="unscorable")


def test_a_document_costs_what_its_wrong_fields_cost() -> None:
    costs = error_costs(COSTS, {1: RIGHT, 2: WRONG_TOTAL, 3: UNREADABLE, 4: RIGHT})
    assert costs is not None
    assert costs.candidate.value == pytest.approx((0 + 5 + 6 + 0) / 4)
    assert costs.candidate.low < costs.candidate.value < costs.candidate.high <= 6
    assert (costs.baseline, costs.difference) == (None, None)
    assert [(row.field, row.cost, row.candidate_errors) for row in costs.fields] == [("total", 5, 2), ("date", 1, 1)]


def test_baseline_is_compared_on_shared_documents() -> None:
    costs = error_costs(COSTS, {1: RIGHT, 2: RIGHT, 3: RIGHT}, {1: WRONG_TOTAL, 2: RIGHT, 9: UNREADABLE})
    assert costs is not None
    assert costs.documents == 2
    assert costs.baseline is not None
    assert costs.difference is not None
    assert (costs.candidate.value, costs.baseline.value, costs.difference.value) == (0, 2.5, -2.5)
    assert [row.baseline_errors for row in costs.fields] == [1, 0]


def test_no_error_among_few_documents_is_no_promise() -> None:
    few, many = mean_cost([0.0] * 20, 10.0), mean_cost([0.0] * 2000, 10.0)
    assert few.low == many.low == 0.0
    assert few.high == pytest.approx(10 * (1 - 0.025 ** (1 / 20)))
    assert many.high < 0.02
    assert few.times(1000).high == 1000 * few.high
    assert error_costs({"total": 0.0}, {1: RIGHT}) is error_costs(COSTS, {}) is None, "nothing to count"


def test_a_much_cheaper_model_is_recognised() -> None:
    rng = np.random.default_rng(1)
    before, after = (
        [float(cost) for cost in rng.binomial(8, 0.4, 80)],
        [float(cost) for cost in rng.binomial(8, 0.1, 80)],
    )
    difference = mean_difference(before, after)
    assert difference.value == pytest.approx(sum(after) / 80 - sum(before) / 80)
    assert difference.low < difference.value < difference.high < 0
    back = mean_difference(after, before)
    assert [back.low, back.high] == pytest.approx([-difference.high, -difference.low])


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
