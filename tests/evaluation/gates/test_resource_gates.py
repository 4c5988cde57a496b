"""What a run took, as gates judge it: latency, throughput, cost, memory."""

from typing import Any

import pytest

from evaluation.gates.facts import _costs, _of_resources, measurements, pace
from evaluation.gates.services import current_policy, make_report, rules
from evaluation.models import Endpoint, EvalOutput, EvalRun
from labeling.models import Contract
from tests.evaluation.factories import World, evaluated, right
from tests.evaluation.gates.test_services import verdict_of


def test_latency_is_judged_by_the_run_itself(world: World) -> None:
    slow = evaluated(world, right, latency_ms=lambda index: 90_000.0)
    report = make_report(eval_run=slow, baseline=None, user=world.engineer)
    assert verdict_of(report, "latency").measured == 90_000
    fast = evaluated(world, right, latency_ms=lambda index: 5.0)
    report = make_report(eval_run=fast, baseline=None, user=world.engineer)
    assert verdict_of(report, "latency").measured == 5


def test_without_a_price_cost_is_not_proven(world: World) -> None:
    Contract.objects.filter(project=world.project).update(constraints={"cost_per_request": 0.01})
    report = make_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert "has no price" in verdict_of(report, "cost").sentence


def test_an_endpoint_costs_its_tokens_at_its_price(world: World) -> None:
    run = evaluated(world, right, tuned=False)
    rows = list(EvalOutput.objects.filter(eval_run=run))
    endpoint = Endpoint(pk=1, project=world.project, name="Large")
    for facts, reason, n in (({}, "no price per token", 0), ({"price_in": "2", "price_out": "10"}, "", 12)):
        found = _costs(rows, EvalRun(endpoint=endpoint), facts, True)
        assert (reason in found.reason, found.n) == (True, n)
    tokens = rows[0].prompt_tokens, rows[0].output_tokens
    assert found.values[0] == pytest.approx((2 * tokens[0] + 10 * tokens[1]) / 1e6)


def test_documents_asked_about_together_share_the_time(world: World) -> None:
    run = evaluated(world, right, latency_ms=lambda index: 800.0)
    rows = list(EvalOutput.objects.filter(eval_run=run))
    for at_once, facts, each in ((1, {}, 800), (4, {}, 200), (4, {"at_once": 2}, 400), (4, {"seconds": 6.0}, 500)):
        run.at_once, run.facts = at_once, facts
        found = _of_resources("requests_per_second", rows, run, pace=pace(run, rows))
        assert found.values[0] == pytest.approx(each)
        assert _of_resources("p95_latency_ms", rows, run).values[0] == 800


def test_a_batch_lasts_until_its_longest_answer(world: World) -> None:
    """Throughput is that of the run's page: eight together, of which seven wait for one."""
    run = evaluated(world, right, latency_ms=lambda index: 5000.0 if index % 4 == 3 else 1000.0)
    run.at_once, run.facts = 4, {"seconds": 15.0, "docs_per_second": 12 / 15}
    rows = list(EvalOutput.objects.filter(eval_run=run))
    values = _of_resources("requests_per_second", rows, run, pace=pace(run, rows)).values
    assert 1000 * len(values) / sum(values) == pytest.approx(run.facts["docs_per_second"])
    Contract.objects.filter(project=world.project).update(constraints={"hardware_price_per_hour": 3600})
    costs = _of_resources("cost_per_request", rows, run, pace=pace(run, rows)).values
    assert sum(costs) == pytest.approx(15.0)


def test_a_request_that_failed_is_slower_than_any_limit(world: World) -> None:
    late: list[str] = []

    def some_fail(row: dict[str, Any]) -> dict[str, Any]:
        late.append(row["id"])
        return {"raw": "", "finish_reason": "error"} if len(late) <= 3 else right(row)

    run = evaluated(world, some_fail)
    rows = list(EvalOutput.objects.filter(eval_run=run))
    found = _of_resources("p95_latency_ms", rows, run, limit=2000.0)
    assert (found.n, sum(value > 2000 for value in found.values)) == (12, 3)
    assert found.note == "with 3 failed requests as slower than the limit"
    speed = _of_resources("requests_per_second", rows, run)
    assert speed.n == 9
    assert sum(speed.values) == pytest.approx(sum(row.latency_ms for row in rows))


def test_what_was_scored_again_was_not_measured_again(world: World) -> None:
    run = evaluated(world, right)
    run.rescored_from_id = run.pk
    for metric in ("p95_latency_ms", "peak_memory_gb"):
        assert not _of_resources(metric, list(EvalOutput.objects.filter(eval_run=run)), run).fresh


def test_the_price_is_that_of_the_day_of_the_evaluation(world: World) -> None:
    """Nobody makes a model cheaper afterwards."""
    limits = {"cost_per_request": 0.01, "hardware_price_per_hour": 3.6}
    Contract.objects.filter(project=world.project).update(constraints=limits)
    run = evaluated(world, right)
    cost = run.facts["cost_per_document"]
    Contract.objects.filter(project=world.project).update(constraints={**limits, "hardware_price_per_hour": 0.01})
    policy = rules(current_policy(project=world.project))
    found = measurements(policy, run, None)["cost"]
    assert sum(found.values) / found.n == pytest.approx(cost, rel=0.01)
