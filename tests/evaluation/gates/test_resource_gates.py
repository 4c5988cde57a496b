"""Gates on the resources of a run: latency, throughput, cost, memory."""

from typing import Any

import pytest

from evaluation.gates.facts import external_inputs, gather, measure, resources_of
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import Measurement, Resources, Sample
from evaluation.gates.policy.services import current_policy, gates_of
from evaluation.gates.services import create_report
from evaluation.inference.prices import TokenPrice
from evaluation.models import EvalOutput, EvalRun
from labeling.models import Contract
from tests.evaluation.factories import World, evaluated, right
from tests.evaluation.gates.test_services import verdict_of


def outputs_of(run: EvalRun) -> list[EvalOutput]:
    return list(EvalOutput.objects.filter(eval_run=run))


def count(metric: str, run: EvalRun, *, threshold: float = 0.0) -> Measurement:
    rows = outputs_of(run)
    contract = Contract.objects.get(project=run.project_id)
    price = float(contract.constraints.get("hardware_price_per_hour") or 0)
    resources = resources_of(run, rows, price_per_hour=price)
    sample = Sample(requests=rows, resources=resources, threshold=threshold)
    return METRICS[metric].count(sample)


def test_latency_is_that_of_the_run(world: World) -> None:
    slow = evaluated(world, right, latency_ms=lambda index: 90_000.0)
    report = create_report(eval_run=slow, baseline=None, user=world.engineer)
    assert verdict_of(report, "latency").measured == 90_000
    fast = evaluated(world, right, latency_ms=lambda index: 5.0)
    report = create_report(eval_run=fast, baseline=None, user=world.engineer)
    assert verdict_of(report, "latency").measured == 5


def test_without_a_price_cost_is_not_proven(world: World) -> None:
    Contract.objects.filter(project=world.project).update(constraints={"cost_per_request": 0.01})
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert (verdict_of(report, "cost").status, verdict_of(report, "cost").n) == ("NOT PROVEN", 0)


def test_an_endpoint_costs_its_tokens_at_its_price(world: World) -> None:
    run = evaluated(world, right, tuned=False)
    rows = outputs_of(run)
    for price, n in ((TokenPrice(None, None), 0), (TokenPrice(2, 10), 12)):
        resources = Resources(price=price)
        cost = METRICS["cost_per_request"].count(Sample(requests=rows, resources=resources))
        assert (bool(cost.reason), cost.n) == (not n, n)
    tokens = rows[0].prompt_tokens, rows[0].output_tokens
    assert cost.values[0] == pytest.approx((2 * tokens[0] + 10 * tokens[1]) / 1e6)


def test_concurrent_requests_share_the_time(world: World) -> None:
    run = evaluated(world, right, latency_ms=lambda index: 800.0)
    for concurrency, facts, each in ((1, {}, 800), (4, {}, 200), (4, {"at_once": 2}, 400), (4, {"seconds": 6.0}, 500)):
        run.concurrency, run.facts = concurrency, facts
        assert count("requests_per_second", run).values[0] == pytest.approx(each)
        assert count("p95_latency_ms", run).values[0] == 800


def test_a_batch_lasts_until_its_longest_answer(world: World) -> None:
    """Throughput is that of the run's page: eight together, of which seven wait for one."""
    run = evaluated(world, right, latency_ms=lambda index: 5000.0 if index % 4 == 3 else 1000.0)
    run.concurrency, run.facts = 4, {"seconds": 15.0, "docs_per_second": 12 / 15}
    values = count("requests_per_second", run).values
    assert 1000 * len(values) / sum(values) == pytest.approx(run.facts["docs_per_second"])
    Contract.objects.filter(project=world.project).update(constraints={"hardware_price_per_hour": 3600})
    costs = count("cost_per_request", run).values
    assert sum(costs) == pytest.approx(15.0)


def test_a_request_that_failed_is_slower_than_any_limit(world: World) -> None:
    late: list[str] = []

    def some_fail(row: dict[str, Any]) -> dict[str, Any]:
        late.append(row["id"])
        return {"raw": "", "finish_reason": "error"} if len(late) <= 3 else right(row)

    run = evaluated(world, some_fail)
    rows = outputs_of(run)
    latencies = count("p95_latency_ms", run, threshold=2000.0)
    assert (latencies.n, sum(value > 2000 for value in latencies.values)) == (12, 3)
    assert "3 failed requests" in latencies.note
    speed = METRICS["requests_per_second"].count(Sample(requests=rows))
    assert speed.n == 9
    assert sum(speed.values) == pytest.approx(sum(row.latency_ms for row in rows))


def test_the_price_is_that_of_the_run(world: World) -> None:
    """A later price does not make a model cheaper."""
    limits = {"cost_per_request": 0.01, "hardware_price_per_hour": 3.6}
    Contract.objects.filter(project=world.project).update(constraints=limits)
    run = evaluated(world, right)
    cost = run.facts["cost_per_document"]
    Contract.objects.filter(project=world.project).update(constraints={**limits, "hardware_price_per_hour": 0.01})
    policy = gates_of(current_policy(project=world.project))
    measured = measure(policy, gather(run, None, external_inputs(policy, run)))["cost"]
    assert sum(measured.values) / measured.n == pytest.approx(cost, rel=0.01)
