"""What runs of pre-labels tell when they end, and that nobody waits for them meanwhile."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from evaluation.inference.completion import Completion, ResponseStatus
from evaluation.models import PrelabelRun
from evaluation.prelabels import services as prelabel_services
from evaluation.prelabels.services import PrelabelWriter, start_prelabels
from labeling.form import validation
from labeling.integrations import webhooks
from labeling.models import Document, WebhookDelivery
from slmstudio.runs.reaper import reap_lost_runs
from tests.evaluation.factories import World

GOOD = '{"invoice_id":"A-1029","date":"2026-01-14","vendor":"Acme Supplies","total_amount":1248.50}'


@pytest.fixture
def run(world: World, settings: Any) -> PrelabelRun:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    webhooks.create(
        project=world.project, user=world.owner, url="http://127.0.0.1:9/hook", events=["prelabel.finished"]
    )
    Document.objects.create(project=world.project, external_id="late", text="Invoice A-1029", sha256="0" * 64)
    world.project.refresh_from_db()
    return start_prelabels(project=world.project, user=world.engineer, model_version=world.version)


def told() -> list[tuple[int, str, int]]:
    rows = WebhookDelivery.objects.filter(event="prelabel.finished").order_by("pk").values_list("payload", flat=True)
    return [(payload["prelabels"], payload["status"], payload["usable"]) for payload in rows]


def test_finished_run_notifies_webhooks(run: PrelabelRun) -> None:
    run.claim()
    store = PrelabelWriter(run)
    store.add(Document.objects.get(external_id="late").pk, Completion(ResponseStatus.VALID, text=GOOD))
    store.flush()
    prelabel_services.complete(run, {})
    prelabel_services.complete(run, {})
    assert told() == [(1, "done", 1)]
    assert WebhookDelivery.objects.get().payload["url"] == run.get_absolute_url()


def lose_its_worker(run: PrelabelRun) -> None:
    run.refresh_from_db()
    assert run.claim_attempt()
    PrelabelRun.objects.update(heartbeat_at=timezone.now() - timedelta(hours=1))
    reap_lost_runs()
    run.refresh_from_db()


def test_lost_run_is_requeued_then_fails(run: PrelabelRun) -> None:
    for _ in range(2):
        lose_its_worker(run)
        assert (run.status, run.stage) == ("queued", "worker lost; requeued")
        assert told() == []
    lose_its_worker(run)
    assert "Attempts: 3." in run.error
    assert told() == [(1, "failed", 0)]


def test_the_next_worker_asks_about_the_rest_within_the_same_budget(world: World, run: PrelabelRun) -> None:
    Document.objects.create(project=world.project, external_id="later", text="Invoice A-1030", sha256="1" * 64)
    second = start_prelabels(project=world.project, user=world.engineer, model_version=world.version)
    second.claim_attempt()
    store = PrelabelWriter(second)
    asked = prelabel_services.pending_items(second).first()
    assert asked is not None
    store.add(asked.document_id or 0, Completion(ResponseStatus.VALID, text=GOOD, tokens=70))
    store.flush()
    PrelabelRun.objects.filter(pk=second.pk).update(heartbeat_at=timezone.now() - timedelta(hours=1))
    reap_lost_runs()
    second.refresh_from_db()
    assert second.claim_attempt()
    store = PrelabelWriter(second)
    assert (store.tokens, store.stored) == (70, 1)
    assert asked.pk not in prelabel_services.pending_items(second).values_list("pk", flat=True)


def test_no_row_is_held_while_texts_are_searched(run: PrelabelRun, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = []
    check = validation.check
    before = len(connection.savepoint_ids)

    def searching(*arguments: Any) -> Any:
        deep.append(len(connection.savepoint_ids))
        return check(*arguments)

    monkeypatch.setattr(prelabel_services, "check", searching)
    store = PrelabelWriter(run)
    store.add(Document.objects.get(external_id="late").pk, Completion(ResponseStatus.VALID, text=GOOD))
    store.flush()
    assert deep == [before]
    item = run.items.get(document__external_id="late")
    assert (item.evidence_found, item.evidence_needed) == (1, 4)
