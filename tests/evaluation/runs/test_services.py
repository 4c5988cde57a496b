"""Starting, cancelling and losing evaluations."""

from copy import copy
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from evaluation.models import AuditEntry, EvalRun, PipelineRun
from evaluation.runs import services as run_services
from evaluation.runs.services import start_evaluation
from labeling.projects.services import create_project
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs
from tests.evaluation.factories import World


def start(world: World, **changes: Any) -> EvalRun:
    order = {
        "project": world.project,
        "user": world.engineer,
        "dataset": world.dataset,
        "split": "holdout",
        "confirm_holdout": True,
        "mode": "constrained",
        "model": world.base_model,
        **changes,
    }
    return start_evaluation(**order)


def test_a_run_is_queued_with_its_number_its_size_and_an_audit_entry(world: World) -> None:
    first, second = start(world), start(world, model=world.training_run)
    assert (first.number, second.number) == (1, 2)
    assert (first.status, first.progress_total) == (Status.QUEUED, 12)
    assert second.model_label == "run 1"
    entry = AuditEntry.objects.get(about="evaluation 1")
    assert (entry.user, entry.action, entry.details["dataset"]) == (world.engineer, "started", world.dataset.sha256)
    run = start_evaluation(project=world.project, user=world.engineer, dataset=world.dataset, model=world.base_model)
    assert run.split == EvalRun().split == "validation", "the hold-out is used only where it is asked for"


def test_what_cannot_be_evaluated_is_refused(world: World) -> None:
    unready, failed = copy(world.base_model), copy(world.training_run)
    unready.sha256, failed.status = "", Status.FAILED
    world.dataset.items.filter(split="validation").delete()
    refusals: list[tuple[str, Any, str]] = [
        ("model", unready, "not prepared"),
        ("model", failed, "did not produce a model"),
        ("split", "everything", "Choose a split"),
        ("split", "validation", "validation split of dataset v1 is empty"),
        ("mode", "wild", "Choose a decoding mode"),
    ]
    for field, value, words in refusals:
        with pytest.raises(Refused, match=words) as refusal:
            start(world, **{field: value})
        assert refusal.value.field == field
    assert not EvalRun.objects.exists()


def test_another_projects_dataset_and_training_are_refused(world: World) -> None:
    members = {world.engineer: "engineer"}
    other = create_project(owner=world.owner, name="Other", slug="other", template="invoice", members=members)
    with pytest.raises(Refused, match="another project") as refusal:
        start(world, project=other)
    assert refusal.value.field == "dataset"
    with pytest.raises(Refused, match="model belongs to another project"):
        start(world, project=other, model=world.training_run)


def test_a_run_waits_while_its_training_is_live(world: World) -> None:
    run = start(world, model=world.training_run)
    assert not run_services.waits_for_training(run)
    type(world.training_run).objects.update(status=Status.RUNNING)
    assert run_services.waits_for_training(run)


def make_loop(world: World, base: EvalRun, tuned: EvalRun) -> PipelineRun:
    return PipelineRun.objects.create(
        project=world.project,
        dataset=world.dataset,
        training_run=world.training_run,
        base=base,
        tuned=tuned,
        status=Status.RUNNING,
        started_at=timezone.now(),
    )


def test_cancelling_a_queued_run_ends_it_and_tells_its_loop(world: World) -> None:
    base, tuned = start(world), start(world, model=world.training_run)
    loop = make_loop(world, base, tuned)
    assert run_services.cancel(run=tuned, user=world.engineer)
    loop.refresh_from_db()
    assert (tuned.status, loop.status) == (Status.CANCELLED, Status.FAILED)
    assert not run_services.cancel(run=tuned, user=world.engineer), "it has already ended"
    assert AuditEntry.objects.filter(action="cancelled").count() == 1


def test_a_lost_run_is_queued_again(world: World, queues: None) -> None:
    run = start(world)
    before = run.job_id
    run.claim(facts={"attempts": 1})
    EvalRun.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    assert [lost.pk for lost in reap_lost_runs()] == [run.pk]
    run.refresh_from_db()
    assert (run.status, run.error, run.job_id == before) == (Status.QUEUED, "", False)
    assert run.stage == "worker lost; requeued"


def test_run_lost_too_often_fails_with_its_pipeline(world: World) -> None:
    base, tuned = start(world), start(world, model=world.training_run)
    loop = make_loop(world, base, tuned)
    base.claim(facts={"attempts": 3})
    EvalRun.objects.filter(pk=base.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    assert [run.pk for run in reap_lost_runs()] == [base.pk]
    base.refresh_from_db()
    loop.refresh_from_db()
    assert base.status == Status.FAILED
    assert "worker" in base.error
    assert loop.status == Status.FAILED
