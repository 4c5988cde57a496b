"""Supervising a run is cheap: events, heartbeats and rows."""

import json
import time
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.models import DatasetVersion, Project
from slmstudio.runs.models import Status
from tests.training.fake_trainer import loss
from tests.training.fakes import plan
from training.hyperparameters.values import Hyperparameters
from training.models import LengthReport, TrainingEvent, TrainingRun
from training.runs import jobs as run_jobs
from training.runs.services import start_training

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.slow
def test_event_costs_little_more_than_its_row(
    project: Project,
    dataset: DatasetVersion,
    lengths: LengthReport,
    people: dict[str, Any],
    queues: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_jobs, "TRAINER", "tests.training.fake_trainer")
    run = start_training(
        project=project,
        user=people["engineer"],
        dataset=dataset,
        base_model=lengths.base_model,
        hyperparameters=Hyperparameters(),
    )
    plan(run, steps=2000, pace=0.0005, save_every=400)
    with CaptureQueriesContext(connection) as queries:
        run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.DONE
    cost = run.facts["supervision"]
    print(f"supervision: {cost}")
    assert cost["events"] >= 2000
    assert len(queries) < 200  # whatever the machine: rows are written in batches
    alone = rows_alone(run)
    print(f"the rows alone: {alone:.2f} processor seconds")
    assert cost["cpu_seconds"] < 15 * alone  # 4 or 5 times as much, when this was written


def rows_alone(run: TrainingRun) -> float:
    """Processor seconds of this machine, as busy as it is, for reading as many lines and writing as many rows."""
    steps = range(1, 2001)
    lines = [json.dumps({"event": "metrics", "step": step, "loss": loss(step), "epoch": 1.0}) for step in steps]
    run.events.all().delete()
    began = time.process_time()
    for at in range(0, len(lines), 400):
        points = [json.loads(line) for line in lines[at : at + 400]]
        TrainingEvent.objects.bulk_create(
            [TrainingEvent(run=run, kind="metrics", step=one["step"], data=one) for one in points]
        )
    return time.process_time() - began
