"""Watching a run is cheap: reading its events, its heartbeats and its rows take a small part of one processor."""

from typing import Any

import pytest

from labeling.models import DatasetVersion, Project
from slmstudio.runs import Status
from slmstudio.supervisor import cost_sentence
from tests.training.fakes import plan
from training import jobs
from training.models import LengthReport
from training.presets import Knobs
from training.services.runs import start_training

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_event_costs_a_millisecond_or_two(
    project: Project,
    dataset: DatasetVersion,
    lengths: LengthReport,
    people: dict[str, Any],
    queues: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "TRAINER", "tests.training.fake_trainer")
    run = start_training(
        project=project, user=people["engineer"], dataset=dataset, base_model=lengths.base_model, knobs=Knobs()
    )
    plan(run, steps=1000, pace=0.003, save_every=200)
    jobs.run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.DONE
    cost = run.facts["supervision"]
    print(cost_sentence(cost))
    assert cost["events"] >= 1000
    assert cost["cpu_seconds"] / cost["events"] < 0.002
