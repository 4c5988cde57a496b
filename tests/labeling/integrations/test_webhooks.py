"""Webhooks: sent after commit, signed, retried with increasing delays, never sent to internal addresses."""

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.db import transaction
from django.utils import timezone

from labeling.integrations import deliveries, events, webhooks
from labeling.models import Project, Webhook, WebhookDelivery
from slmstudio.errors import Refused
from tests.conftest import Workers
from tests.labeling.desk import Desk, make_desk
from tests.labeling.receiver import Receiver, receiving

Status = WebhookDelivery.Status


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with receiving() as state:
        yield state


def hook_for(desk: Desk, url: str, *events: str, **more: Any) -> Webhook:
    hook = webhooks.create(
        project=desk.project, user=desk.people["owner"], url=url, events=events or ["document.submitted"], **more
    )
    desk.project.refresh_from_db()
    return hook


def emitted(desk: Desk, **payload: Any) -> WebhookDelivery:
    events.emit(desk.project, "document.submitted", payload or {"document": 7})
    return WebhookDelivery.objects.latest("pk")


def due_now(delivery: WebhookDelivery) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=timezone.now())


def test_delivery_signature(desk: Desk, receiver: Receiver, queues: None) -> None:
    hook = hook_for(desk, receiver.url)
    delivery = emitted(desk, document=7, url="/p/desk/documents/7/")
    assert deliveries.deliver(delivery.pk)
    [message] = receiver.messages
    stamp, _, digest = message.headers["slm-signature"].partition(",")
    stamp, digest = stamp.removeprefix("t="), digest.removeprefix("v1=")
    secret = deliveries.secret_of(hook)
    assert hmac.new(secret.encode(), f"{stamp}.".encode() + message.body, hashlib.sha256).hexdigest() == digest
    assert abs(int(stamp) - time.time()) < 60
    assert message.headers["slm-event"] == "document.submitted"
    assert message.headers["slm-delivery"] == str(delivery.pk)
    body = json.loads(message.body)
    assert body["project"] == "desk"
    assert body["id"] == str(delivery.pk)
    assert body["data"] == {"document": 7, "url": "/p/desk/documents/7/"}
    delivery.refresh_from_db()
    assert (delivery.status, delivery.response_code, delivery.attempts) == (Status.DELIVERED, 200, 1)
    assert delivery.milliseconds is not None
    assert delivery.delivered_at is not None


def test_secret_is_derived_and_rotates(desk: Desk, receiver: Receiver) -> None:
    hook = hook_for(desk, receiver.url)
    secret = deliveries.secret_of(hook)
    row = Webhook.objects.filter(pk=hook.pk).values().get()
    assert not any(secret.removeprefix("whsec_") in str(value) for value in row.values())
    assert webhooks.rotate_secret(webhook=hook, user=desk.people["owner"]) != secret
    assert deliveries.secret_of(Webhook.objects.get(pk=hook.pk)) != secret


def test_no_delivery_without_subscription(desk: Desk, receiver: Receiver, django_assert_num_queries: Any) -> None:
    hook_for(desk, receiver.url, "dataset.frozen")
    with django_assert_num_queries(0):
        events.emit(desk.project, "document.submitted", {})
    assert not WebhookDelivery.objects.exists()


def test_inactive_and_foreign_webhooks_get_nothing(desk: Desk, receiver: Receiver) -> None:
    hook_for(desk, receiver.url, active=False)
    other = make_desk("other")
    hook_for(other, receiver.url)
    events.emit(desk.project, "document.submitted", {})
    desk.project.webhook_events = ["document.submitted"]  # as one that was read a moment ago would say
    events.emit(desk.project, "document.submitted", {})
    assert not WebhookDelivery.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_delivery_is_transactional(queues: None, receiver: Receiver) -> None:
    desk = make_desk()
    hook_for(desk, receiver.url)
    queue = django_rq.get_queue("webhooks")
    with transaction.atomic():
        emitted(desk)
        transaction.set_rollback(True)
    assert not WebhookDelivery.objects.exists()
    assert queue.count == 0
    with transaction.atomic():
        delivery = emitted(desk)
        assert queue.count == 0
    [job] = queue.jobs
    assert (job.func_name, list(job.args)) == ("labeling.jobs.deliver_webhook", [delivery.pk])


def test_failed_delivery_is_retried(desk: Desk, receiver: Receiver, queues: None) -> None:
    receiver.statuses = [500] * 20
    hook_for(desk, receiver.url)
    delivery = emitted(desk)
    again = 0
    for attempt in range(1, deliveries.MAX_ATTEMPTS + 1):
        before = timezone.now()
        assert not deliveries.deliver(delivery.pk)
        delivery.refresh_from_db()
        assert delivery.attempts == attempt
        assert "500" in delivery.error
        if delivery.next_attempt_at is not None:
            delay = timedelta(seconds=deliveries.RETRY_DELAYS[again])
            assert before <= delivery.next_attempt_at - delay <= timezone.now()
            again += 1
        # Not due yet: a second job for it, or a sweep, does nothing.
        assert not deliveries.deliver(delivery.pk)
        due_now(delivery)
    assert again == len(deliveries.RETRY_DELAYS)
    assert len(receiver.messages) == deliveries.MAX_ATTEMPTS
    assert len({message.headers["slm-delivery"] for message in receiver.messages}) == 1
    delivery.refresh_from_db()
    assert delivery.status == Status.GIVEN_UP
    assert delivery.response_code == 500
    # The button in the log.
    receiver.statuses = []
    deliveries.redeliver(delivery=delivery, user=None)
    assert deliveries.deliver(delivery.pk)


def test_receiver_recovers_and_its_address_is_not_logged(
    desk: Desk, receiver: Receiver, queues: None, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [503, 200]
    hook_for(desk, receiver.url.replace("/hook", "/services/T000/SECRET"))
    delivery = emitted(desk)
    with caplog.at_level("DEBUG"):
        assert not deliveries.deliver(delivery.pk)
        due_now(delivery)
        assert deliveries.deliver(delivery.pk)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.error) == (Status.DELIVERED, 2, "")
    assert {message.path for message in receiver.messages} == {"/services/T000/SECRET"}
    assert "SECRET" not in caplog.text


def test_redirects_are_not_followed(desk: Desk, receiver: Receiver, queues: None) -> None:
    statuses = [301, 302, 307, 308]
    with receiving() as inside:
        receiver.statuses, receiver.location = [*statuses], inside.url
        hook_for(desk, receiver.url)
        for _ in statuses:
            delivery = emitted(desk)
            assert not deliveries.deliver(delivery.pk)
            delivery.refresh_from_db()
            assert "redirect" in delivery.error
    assert len(receiver.messages) == len(statuses)
    assert not inside.messages


def test_timeouts_and_connection_errors(
    desk: Desk, receiver: Receiver, queues: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error_of(url: str) -> str:
        hook = hook_for(desk, url)
        delivery = emitted(desk)
        assert not deliveries.deliver(delivery.pk)
        delivery.refresh_from_db()
        assert delivery.response_code is None
        assert delivery.next_attempt_at is not None
        webhooks.delete(webhook=hook, user=desk.people["owner"])
        return delivery.error

    assert "cannot be reached" in error_of("http://127.0.0.1:9/hook")
    monkeypatch.setattr(deliveries, "TIMEOUT_SECONDS", 0.2)
    receiver.seconds = 0.6
    assert "no response" in error_of(receiver.url)
    receiver.seconds, receiver.drips = 0, 8
    assert "no response" in error_of(receiver.url), "each line of the response is in time, all of them are not"


def test_internal_and_invalid_urls_are_refused(desk: Desk) -> None:
    for url in ("http://127.0.0.1/hook", "http://169.254.169.254/", "ftp://example.org/", "not a valid URL", ""):
        with pytest.raises(Refused, check=lambda refusal: refusal.field == "url"):
            hook_for(desk, url)
    assert not Webhook.objects.exists()


def test_url_is_checked_at_delivery(desk: Desk, receiver: Receiver, queues: None, settings: Any) -> None:
    hook_for(desk, receiver.url)
    settings.OUTBOUND_ALLOW = []
    delivery = emitted(desk)
    assert not deliveries.deliver(delivery.pk)
    assert not receiver.messages
    delivery.refresh_from_db()
    assert "internal address" in delivery.error


def test_unknown_event_is_refused(desk: Desk, receiver: Receiver) -> None:
    for unknown in ([], ["document.eaten"]):
        with pytest.raises(Refused, check=lambda refusal: refusal.field == "events"):
            webhooks.create(project=desk.project, user=desk.people["owner"], url=receiver.url, events=unknown)


def test_timeouts_suspend_a_webhook(
    desk: Desk,
    receiver: Receiver,
    queues: None,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    dead, alive = hook_for(desk, "http://127.0.0.1:9/hook"), hook_for(desk, receiver.url)
    monkeypatch.setattr(deliveries, "MAX_CONSECUTIVE_TIMEOUTS", 2)
    for _ in range(deliveries.MAX_CONSECUTIVE_TIMEOUTS + 2):
        emitted(desk)
    of_dead = WebhookDelivery.objects.filter(webhook=dead).order_by("pk")
    for pk in WebhookDelivery.objects.order_by("pk").values_list("pk", flat=True):
        deliveries.deliver(pk)
    assert list(of_dead.values_list("attempts", flat=True)) == [1] * deliveries.MAX_CONSECUTIVE_TIMEOUTS + [0, 0]
    late = of_dead.last()
    assert late is not None
    assert late.status == Status.WAITING
    assert late.next_attempt_at is not None
    assert late.next_attempt_at > timezone.now()
    assert (
        WebhookDelivery.objects.filter(webhook=alive, status=Status.DELIVERED).count()
        == deliveries.MAX_CONSECUTIVE_TIMEOUTS + 2
    )
    django_rq.get_connection("webhooks").delete(f"{deliveries._TIMEOUTS_KEY.format(dead.pk)}:rest")  # its time is up
    for attempts in (1, 1):  # it is asked once, and rests again
        due_now(late)
        assert not deliveries.deliver(late.pk)
        late.refresh_from_db()
        assert late.attempts == attempts
    test = deliveries.send_test(webhook=dead, user=desk.people["owner"])
    deliveries.deliver(test.pk)
    test.refresh_from_db()
    assert test.attempts == 1
    with django_capture_on_commit_callbacks(execute=True):
        webhooks.change(webhook=dead, user=desk.people["owner"], url=receiver.url)
    due_now(late)
    assert deliveries.deliver(late.pk)


def test_project_stores_subscribed_events(desk: Desk, receiver: Receiver) -> None:
    first = hook_for(desk, receiver.url, "dataset.frozen", "document.submitted")
    hook_for(desk, receiver.url, "document.submitted")
    assert desk.project.webhook_events == ["document.submitted", "dataset.frozen"]
    webhooks.change(webhook=first, user=desk.people["owner"], active=False)
    assert Project.objects.get(pk=desk.project.pk).webhook_events == ["document.submitted"]
    webhooks.change(webhook=first, user=desk.people["owner"], active=True, events=["import.finished"])
    assert Project.objects.get(pk=desk.project.pk).webhook_events == ["document.submitted", "import.finished"]
    webhooks.delete(webhook=first, user=desk.people["owner"])
    assert Project.objects.get(pk=desk.project.pk).webhook_events == ["document.submitted"]


def test_due_deliveries_are_queued_and_old_ones_deleted(
    desk: Desk, receiver: Receiver, queues: None, django_capture_on_commit_callbacks: Any
) -> None:
    hook_for(desk, receiver.url)
    delivery, fresh, old = emitted(desk), emitted(desk), emitted(desk)
    a_minute_ago, long_ago = timezone.now() - timedelta(minutes=1), timezone.now() - timedelta(days=31)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=a_minute_ago)
    WebhookDelivery.objects.filter(pk=fresh.pk).update(next_attempt_at=timezone.now() + timedelta(minutes=1))
    WebhookDelivery.objects.filter(pk=old.pk).update(created_at=long_ago, status=Status.DELIVERED)
    for _ in range(3):  # what waits in the queue is not queued once more
        with django_capture_on_commit_callbacks(execute=True):
            deliveries.queue_due()
    assert deliveries.delete_old() == 1
    assert [job.args[0] for job in django_rq.get_queue("webhooks").jobs] == [delivery.pk]
    assert set(WebhookDelivery.objects.values_list("pk", flat=True)) == {delivery.pk, fresh.pk}


def test_delivery_of_a_dead_worker_is_given_up_after_its_last_attempt(
    desk: Desk, receiver: Receiver, queues: None
) -> None:
    hook_for(desk, receiver.url)
    delivery = emitted(desk)
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        attempts=deliveries.MAX_ATTEMPTS, next_attempt_at=timezone.now()
    )
    assert not deliveries.deliver(delivery.pk)
    delivery.refresh_from_db()
    assert delivery.status == Status.GIVEN_UP
    assert not receiver.messages
    assert not deliveries.deliver(12345), "a delivery that is deleted"


@pytest.mark.slow
def test_worker_delivers(
    idle_workers: Workers, receiver: Receiver, wait_for: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTBOUND_ALLOW", "127.0.0.1")
    idle_workers.start("webhooks")
    desk = make_desk()
    hook = hook_for(desk, receiver.url)
    deliveries.send_test(webhook=hook, user=desk.people["owner"])
    wait_for(lambda: receiver.messages, seconds=30, message=idle_workers.text)
    wait_for(lambda: WebhookDelivery.objects.filter(status=Status.DELIVERED).exists(), seconds=10)
    assert receiver.messages[0].headers["slm-event"] == deliveries.TEST
