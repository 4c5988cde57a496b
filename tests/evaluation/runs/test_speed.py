"""An evaluation that is far slower than those before it says so on its page."""

from typing import Any

import pytest

from evaluation.models import EvalRun
from evaluation.runs import outputs, throughput
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries as dataset_queries
from tests.evaluation.factories import World, evaluated, right


def at_work(world: World, latency_ms: float, documents: int = 4) -> EvalRun:
    """A running evaluation that has answered some documents, each of 40 tokens."""
    run = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, split="train", model=world.base_model
    )
    assert run.claim(
        facts={"expected_tokens_per_second": throughput.expected_rate(run), "load": {"others": 1.7, "cores": 2}}
    )
    store = outputs.OutputWriter(run)
    for row in list(dataset_queries.rows(run.dataset, "train"))[:documents]:
        store.add({"id": row["id"], "latency_ms": latency_ms, "output_tokens": 40, **right(row)})
    store.flush()
    return EvalRun.objects.get(pk=run.pk)


def test_what_to_expect_comes_from_evaluations_of_the_same_base(world: World) -> None:
    evaluated(world, right, latency_ms=lambda index: 1000.0)
    run = EvalRun(project=world.project, base_model=world.base_model, concurrency=1)
    assert throughput.expected_rate(run) == pytest.approx(40)
    run.concurrency = 4
    assert throughput.expected_rate(run) is None


def test_a_lag_that_is_neither_small_nor_early_has_a_warning(world: World) -> None:
    evaluated(world, right, latency_ms=lambda index: 1000.0)
    for latency_ms, documents, is_warned in ((1500.0, 4, False), (5000.0, 2, False), (5000.0, 4, True)):
        run: Any = at_work(world, latency_ms, documents)
        assert bool(throughput.slow_run_warning(run)) is is_warned
