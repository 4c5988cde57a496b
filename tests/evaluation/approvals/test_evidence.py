"""What a report says beside its verdicts: money and automation, from contract, schema and what the model said."""

from typing import Any

import pytest
from django.core.cache import caches

from evaluation.approvals.evidence import automation_rate, evidence
from evaluation.gates.policy.services import set_policy
from evaluation.gates.services import create_report
from evaluation.inference.spec import EvalSpec
from evaluation.models import GateReport
from labeling.models import Contract
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World, broken, evaluated, right, write_spec


@pytest.fixture(autouse=True)
def fresh_cache() -> None:
    caches["process"].clear()


def sure(row: dict[str, Any], share: float = 0.97) -> dict[str, Any]:
    """Gold, and how sure the model was of each of its fields."""
    return {"raw": dumps(row["gold"]), "confidence": {name: [share, share] for name in row["gold"]}}


def judged(world: World, say: Any, baseline_says: Any = None, **constraints: Any) -> GateReport:
    Contract.objects.filter(project=world.project).update(constraints=constraints)
    base = evaluated(world, baseline_says, tuned=False) if baseline_says else None
    return create_report(eval_run=evaluated(world, say), baseline=base, user=world.engineer)


def test_error_cost_is_compared_with_the_baseline(world: World) -> None:
    fields = world.project.schema_version.compiled.fields
    prices = sum(float(field.cost) for field in fields)
    assert prices > 0, "the template prices its fields"
    report = judged(world, right, broken, expected_volume=2000, currency="EUR")
    money = evidence(report)["money"]
    assert money is not None
    assert (money["currency"], money["volume"], money["monthly"]) == ("EUR", 2000, True)
    line = money["lines"][0]
    assert line["candidate"].value == 0
    assert line["candidate"].high > 0
    assert line["baseline"] is not None
    assert 0 < line["baseline"].value <= 2000 * prices
    assert money["difference"] is not None
    assert money["difference"].value == pytest.approx(-line["baseline"].value)
    assert money["sentence"] == "Its errors cost less"


def test_running_and_review_are_lines_of_their_own(world: World) -> None:
    report = judged(world, right, expected_volume=100, review_cost=0.5, hardware_price_per_hour=3.6)
    money = evidence(report)["money"]
    assert money is not None
    lines = {line["words"]: line["candidate"].value for line in money["lines"]}
    assert lines["inference"] == pytest.approx(100 * report.eval_run.facts["cost_per_document"])
    assert lines["review of all documents"] == 50


def test_what_the_surest_share_leaves_for_people(world: World) -> None:
    set_policy(
        project=world.project,
        user=world.manager,
        gates=[{"key": "documents", "metric": "document_error_rate", "operator": "<=", "threshold": 0.5}],
    )
    report = judged(world, sure, expected_volume=100, review_cost=0.5)
    shown = evidence(report)
    through = shown["automation"]
    assert (bool(through.documents), through.limit, through.from_policy) == (True, 0.5, True)
    assert through.best is not None
    assert (through.best.documents, through.best.share) == (12, 1.0)
    assert through.confidence == pytest.approx(0.975), "the first look's own"
    words = [line["words"] for line in shown["money"]["lines"]]
    assert "automation of the most confident 100%, review of the rest" in words


def test_what_breaks_the_schema_is_never_sent_on(world: World) -> None:
    def sure_nonsense(row: dict[str, Any]) -> dict[str, Any]:
        return {**sure(row), "raw": '{"nonsense": 1}'}

    through = automation_rate(judged(world, sure_nonsense))
    assert (through.documents, through.steps) == (12, ())


def test_an_evaluation_on_the_hold_out_asks_how_sure_the_model_is(world: World) -> None:
    run = evaluated(world, right)
    assert EvalSpec.from_yaml(run.spec).confidence
    other = evaluated(world, right, split="validation")
    write_spec(other)
    assert not EvalSpec.from_yaml(other.spec).confidence
