"""Webhook events of training, evaluation, gates and approval, as a receiver gets them."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from evaluation.approvals.decisions import decide, withdraw
from evaluation.approvals.waivers import Waiver
from evaluation.gates.services import create_report
from evaluation.models import EvalRun
from evaluation.runs import services as run_services
from labeling.integrations import deliveries, events, webhooks
from labeling.models import Split, Webhook, WebhookDelivery
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs, requeue_interrupted
from tests.evaluation.factories import World, complete, confirmed, evaluated, pretend, rewrite, right
from tests.labeling.api.test_docs import example
from tests.labeling.receiver import Receiver, receiving
from training.models import TrainingRun

KINDS = ("training", "evaluation", "gate_report")


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with receiving() as state:
        yield state


@pytest.fixture
def hook(world: World, receiver: Receiver) -> Webhook:
    names = [name for name in events.EVENTS if name.split(".")[0] in KINDS]
    created = webhooks.create(project=world.project, user=world.owner, url=receiver.url, events=names)
    world.project.refresh_from_db()
    return created


def sent() -> list[tuple[str, dict[str, Any]]]:
    """The events so far with their payloads."""
    return list(WebhookDelivery.objects.order_by("pk").values_list("event", "payload"))


def named() -> list[str]:
    return [event for event, _ in sent()]


def queued_training(world: World) -> TrainingRun:
    rewrite(world.training_run, status=Status.QUEUED)
    return TrainingRun.objects.get(pk=world.training_run.pk)


def queued_evaluation(world: World) -> EvalRun:
    return run_services.start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=world.base_model
    )


def test_a_model_from_training_to_the_decision(world: World, hook: Webhook, receiver: Receiver, queues: None) -> None:
    training = queued_training(world)
    assert training.claim()
    assert training.finish()
    run = evaluated(world, pretend(2, spoil=0.05))
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert create_report(eval_run=run, baseline=None, user=world.engineer) == report
    waiver = Waiver("Two weeks of shadowing first.", timezone.localdate() + timedelta(days=1))
    confirmed(decide(report=report, user=world.manager, decision="approved", reason="For a trial.", waiver=waiver))
    withdraw(report=report, user=world.manager, reason="A supplier fails.")
    for pk in WebhookDelivery.objects.order_by("pk").values_list("pk", flat=True):
        assert deliveries.deliver(pk)
    names: dict[str, Any] = {}
    exec(example("python", "is_authentic"), names)
    secret, payloads = deliveries.secret_of(hook), {}
    for message in receiver.messages:
        assert names["is_authentic"](secret, message.headers["slm-signature"], message.body)
        body = json.loads(message.body)
        assert (body["version"], body["project"]) == (1, world.project.slug)
        assert body["event"] == message.headers["slm-event"]
        payloads[body["event"]] = body["data"]
    assert list(payloads) == [
        "training.completed", "evaluation.completed", "gate_report.created", "gate_report.approved",
        "gate_report.withdrawn",
    ]  # fmt: skip
    assert payloads["training.completed"] == {
        "training": 1, "base_model": "small-base", "dataset": 1, "model_version": 1,
        "model_sha256": world.version.sha256, "url": training.get_absolute_url(), "status": "done", "error": "",
    }  # fmt: skip
    completed = payloads["evaluation.completed"]
    assert (completed["evaluation"], completed["split"], completed["status"]) == (1, "holdout", "done")
    assert completed["documents"] == 12
    assert completed["field_exact"] == pytest.approx(run.scores["field_exact"]["rate"])
    assert completed["outputs_sha256"] == run.outputs_sha256
    created = payloads["gate_report.created"]
    assert (created["report"], created["evaluation"], created["holdout_evaluation"]) == (1, 1, 1)
    assert created["verdict"] in ("FAIL", "NOT PROVEN")
    assert [gate["verdict"] for gate in created["gates"]] == [row["status"] for row in report.verdicts]
    approved = payloads["gate_report.approved"]
    assert (approved["by"], approved["verdict"]) == ("mona", created["verdict"])
    assert approved["waived"] == [gate["key"] for gate in created["gates"] if gate["verdict"] != "PASS"]
    assert "For a trial." not in json.dumps(payloads)


def test_a_rejection(world: World, hook: Webhook) -> None:
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    decide(report=report, user=world.manager, decision="rejected", reason="Too few suppliers.")
    assert named()[-1] == "gate_report.rejected"
    assert sent()[-1][1]["waived"] == []


def fails(run: Any) -> None:
    assert run.claim()
    run.fail("The disk is full.")
    run.fail("The disk is full.")


def is_lost(run: Any) -> None:
    while run.status != Status.FAILED:
        assert run.claim_attempt() if isinstance(run, EvalRun) else run.claim(attempts=run.attempts + 1)
        rewrite(run, heartbeat_at=timezone.now() - timedelta(hours=1))
        reap_lost_runs()
        run.refresh_from_db()


def is_cancelled_in_the_queue(run: Any) -> None:
    assert run.cancel()


def is_cancelled_at_work(run: Any) -> None:
    assert run.claim()
    assert run.cancel()
    assert not any(name.endswith(".cancelled") for name in named())
    run.cancelled()


def is_cancelled_and_lost(run: Any) -> None:
    assert run.claim()
    assert run.cancel()
    requeue_interrupted()


@pytest.mark.parametrize(
    ("queued", "end", "status"),
    [
        (queued_evaluation, fails, "failed"),
        (queued_evaluation, is_lost, "failed"),
        (queued_evaluation, is_cancelled_in_the_queue, "cancelled"),
        (queued_evaluation, is_cancelled_at_work, "cancelled"),
        (queued_evaluation, is_cancelled_and_lost, "cancelled"),
        (queued_training, fails, "failed"),
        (queued_training, is_lost, "failed"),
    ],
)
def test_each_end_of_a_run_is_one_event(
    world: World, hook: Webhook, queues: None, queued: Callable[[World], Any], end: Callable[[Any], None], status: str
) -> None:
    run = queued(world)
    end(run)
    kind = "evaluation" if isinstance(run, EvalRun) else "training"
    assert [(event, payload["status"]) for event, payload in sent()] == [(f"{kind}.{status}", status)]
    run.refresh_from_db()
    assert sent()[0][1]["error"] == run.error
    assert bool(run.error) == (status == "failed")


def test_a_webhook_that_is_added_during_a_run_gets_its_end(world: World, receiver: Receiver) -> None:
    run = queued_evaluation(world)
    assert run.project.webhook_events == []
    webhooks.create(project=world.project, user=world.owner, url=receiver.url, events=["evaluation.completed"])
    complete(run, right)
    assert named() == ["evaluation.completed"]
    assert sent()[0][1]["split"] == Split.VALIDATION


def test_an_end_that_is_rolled_back_sends_nothing(world: World, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    run = queued_evaluation(world)
    assert run.claim()

    def broken(*arguments: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(deliveries, "_enqueue", broken)
    with pytest.raises(RuntimeError):
        run.fail("x")
    assert named() == []
    assert EvalRun.objects.get(pk=run.pk).status == Status.RUNNING
