"""The registry of metrics: one entry is all that a metric needs."""

import pytest

from evaluation.gates.display import bounds, measured, number_line_of, threshold
from evaluation.gates.facts import RunFacts, measure
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import (
    GIGABYTES,
    MILLISECONDS,
    PERCENT,
    POINTS,
    Measurement,
    Metric,
    Resources,
    Sample,
    VerdictStatus,
)
from evaluation.gates.metrics.rate_tests import rate_at_least
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.policy.forms import PolicyForm
from evaluation.gates.verdicts import verdicts_for
from evaluation.models import EvalOutput


def _exact(sample: Sample) -> Measurement:
    return Measurement.rate(sum(score["exact"] for score in sample.scores.values()), len(sample.scores))


@pytest.fixture
def exact_match(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A metric that only its entry in the registry knows, with a gate on it."""
    metric = Metric("At least {} exact match", PERCENT, ">=", count=_exact, test=rate_at_least)
    monkeypatch.setitem(METRICS, "exact_match_rate", metric)
    return Gate("exact", "exact_match_rate", ">=", 0.8)


def facts(exact: int, wrong: int) -> RunFacts:
    scores = [{"exact": place < exact, "schema_valid": True, "fields": []} for place in range(exact + wrong)]
    outputs = [EvalOutput(document_id=place, score=score) for place, score in enumerate(scores)]
    return RunFacts(outputs=outputs, requests=outputs, resources=Resources())


def test_an_entry_is_counted_tested_and_displayed(exact_match: Gate) -> None:
    policy = GateSet((exact_match,))
    (verdict,) = verdicts_for(policy, measure(policy, facts(40, 0)), 1)
    assert (verdict.status, verdict.k, verdict.n, verdict.confidence) == (VerdictStatus.PASS, 40, 40, 0.975)
    row = verdict.as_dict()
    assert row["gate"]["title"] == "At least 80% exact match"
    assert (measured(row), threshold(row)) == ("100%", "≥ 80%")
    assert bounds(row).endswith("to 100%")
    assert number_line_of(row) is not None


def test_an_entry_is_in_the_policy_form(exact_match: Gate) -> None:
    form = PolicyForm(policy=GateSet((exact_match,)))
    row = next(row for row in form.rows() if row["gate"] == exact_match)
    assert (row["unit"], row["field"].value(), row["set"]) == ("%", "80", True)
    assert "exact_match_rate" in dict(form.fields["add-metric"].choices)  # type: ignore[attr-defined]


def test_units_are_displayed_and_entered() -> None:
    for unit, value, text, entered in (
        (PERCENT, 0.995, "99.5%", "99.5"),
        (POINTS, 0.02, "+2.0 points", "2"),
        (GIGABYTES, 1.25, "1.25 GB", "1.25"),
    ):
        assert (unit.display(value), unit.to_input(value)) == (text, entered)
        assert unit.from_input(float(entered)) == pytest.approx(value)
    assert [MILLISECONDS.display(value) for value in (812, 1200)] == ["812 ms", "1.2 s"]


def test_a_number_line_is_in_order_between_0_and_1() -> None:
    gate = {"metric": "schema_valid_rate", "operator": ">=", "threshold": 0.99}
    verdict = {"gate": gate, "measured": 0.95, "low": 0.9, "high": 0.98}
    line = number_line_of(verdict)
    assert line is not None
    assert line.measured is not None
    assert 0 <= line.low < line.measured < line.high < line.limit <= 1
    assert line.good == (line.limit, 1.0)
    assert number_line_of({**verdict, "measured": None, "low": None, "high": None}) is None
