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
    Unit,
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


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_verdict_without_a_measurement(name: str) -> None:
    metric = METRICS[name]
    gate = Gate(
        "gate",
        name,
        metric.operator,
        0.5,
        compared_with=metric.comparisons[0],
        field="a" if metric.field == "must" else "",
    )
    (verdict,) = verdicts_for(GateSet((gate,)), {}, 1)
    assert (verdict.status, verdict.measured) == (VerdictStatus.NOT_PROVEN, None)


@pytest.mark.parametrize(
    ("unit", "value", "text", "entered"),
    [(PERCENT, 0.995, "99.5%", "99.5"), (POINTS, 0.02, "+2.0 points", "2"), (GIGABYTES, 1.25, "1.25 GB", "1.25")],
)
def test_units_are_displayed_and_entered(unit: Unit, value: float, text: str, entered: str) -> None:
    assert unit.display(value) == text
    assert unit.to_input(value) == entered
    assert unit.from_input(float(entered)) == pytest.approx(value)


def test_milliseconds_become_seconds() -> None:
    assert [MILLISECONDS.display(value) for value in (812, 1200)] == ["812 ms", "1.2 s"]
