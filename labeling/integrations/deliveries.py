"""Deliveries of webhook events: attempts, signatures, retries.

Delivery is at least once: a delivery is a row, written in the transaction of the event, and tried until the receiver
answers with 2xx or ``RETRY_DELAYS`` is exhausted. Receivers detect repetitions by the id. The headers:

``SLM-Delivery`` is the id, equal in every attempt; ``SLM-Event`` is the event; ``SLM-Signature`` is
``t=<unix seconds>,v1=<hex>``, where hex is HMAC-SHA256 over ``<unix seconds>.<body>`` with the webhook's secret as key.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import django_rq
import httpx
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import salted_hmac
from redis.exceptions import RedisError
from rq.job import JobStatus

from labeling.models import Webhook, WebhookDelivery
from slmstudio.access import Action, require
from slmstudio.accounts.secret_keys import key_named, name_of
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.logs.json_lines import request_id
from slmstudio.web import outbound

logger = logging.getLogger(__name__)

#: version of the payloads of all events: a higher one changes or removes members; members are added at any time
PAYLOAD_VERSION = 1
#: sent by "Send a test"; not a subscribable event
TEST = "test"
#: seconds between failed attempts; after the last one the delivery has failed
RETRY_DELAYS = (10, 60, 300, 1_800, 7_200, 21_600)
MAX_ATTEMPTS = len(RETRY_DELAYS) + 1
TIMEOUT_SECONDS = 10
RETENTION_DAYS = 30
JOB = "labeling.jobs.deliver_webhook"
_QUEUE = "webhooks"
_DUE_AT_ONCE = 200
#: consecutive timeouts that suspend a webhook, and for how many seconds: each attempt blocks a worker for ten
MAX_CONSECUTIVE_TIMEOUTS, SUSPEND_SECONDS = 5, 120
_TIMEOUTS_KEY = "slm:webhook:{}:silent"
#: after which a claimed delivery is due again: its worker died
_LEASE = timedelta(seconds=90)
#: of a job; the request has its own deadline, but resolving a name can be slow
_JOB_SECONDS = 60

Status = WebhookDelivery.Status


def send_test(*, webhook: Webhook, user: User) -> WebhookDelivery:
    """Sends a test event, also to an inactive webhook."""
    require(webhook.project, user, Action.ADMINISTER)
    return send([webhook.pk], TEST, {"message": "This is a test of this webhook.", "by": user.get_username()})[0]


def redeliver(*, delivery: WebhookDelivery, user: User | None) -> WebhookDelivery:
    """Sends a delivery again with the same id and new attempts.

    Raises:
        Refused: it is still being tried.
    """
    require(delivery.webhook.project, user, Action.ADMINISTER)
    if delivery.status == Status.WAITING:
        raise Refused("This delivery is still in progress.", code="busy")
    changed = WebhookDelivery.objects.filter(pk=delivery.pk).exclude(status=Status.WAITING)
    if changed.update(status=Status.WAITING, attempts=0, next_attempt_at=timezone.now(), error="") == 1:
        _enqueue(delivery.pk, 0)
    delivery.refresh_from_db()
    return delivery


def send(hooks: Iterable[int], event: str, payload: dict[str, Any]) -> list[WebhookDelivery]:
    """Sends an event to webhooks, by their ids, after commit."""
    now = timezone.now()
    with transaction.atomic():
        deliveries = WebhookDelivery.objects.bulk_create(
            WebhookDelivery(webhook_id=pk, event=event, payload=payload, next_attempt_at=now, created_at=now)
            for pk in hooks
        )
        for delivery in deliveries:
            _enqueue(delivery.pk, 0)
    return deliveries


def _enqueue(pk: int, attempts: int) -> None:
    """Queues the next attempt after commit, unless it is queued. ``queue_due`` queues it if the queue is down now."""
    meta = {"request_id": request_id()}

    def enqueue() -> None:
        try:
            queue = django_rq.get_queue(_QUEUE)
            job_id = f"webhook-{pk}-{attempts}"
            queued = queue.fetch_job(job_id)
            if queued is not None and queued.get_status() == JobStatus.QUEUED:
                return
            queue.enqueue(JOB, pk, job_id=job_id, result_ttl=0, failure_ttl=3600, job_timeout=_JOB_SECONDS, meta=meta)
        except RedisError:
            logger.warning("the queue is not available; webhook delivery %s is queued later", pk)

    transaction.on_commit(enqueue)


# -- delivering --------------------------------------------------------------------------------------------------------


def deliver(pk: int) -> bool:
    """Makes an attempt of a delivery that is due; returns whether it was delivered. Skips one that another worker has.

    The request is made outside of any transaction. A deleted delivery is ignored.
    """
    now = timezone.now()
    due = WebhookDelivery.objects.filter(pk=pk, status=Status.WAITING, next_attempt_at__lte=now)
    if due.filter(attempts__gte=MAX_ATTEMPTS).update(status=Status.GIVEN_UP, next_attempt_at=None):
        return False
    if _is_suspended(pk):
        # Not an attempt; it is queued again when it is due.
        due.update(next_attempt_at=now + timedelta(seconds=SUSPEND_SECONDS))
        return False
    if due.update(attempts=F("attempts") + 1, next_attempt_at=now + _LEASE) != 1:
        return False
    delivery = WebhookDelivery.objects.select_related("webhook__project").get(pk=pk)
    started = time.monotonic()
    code, error = _post(delivery)
    changes: dict[str, Any] = {
        "response_code": code,
        "error": error[:300],
        "milliseconds": round((time.monotonic() - started) * 1000),
    }
    claimed = WebhookDelivery.objects.filter(pk=pk, status=Status.WAITING, attempts=delivery.attempts)
    count_timeout(delivery.webhook_id, timed_out=code is None)
    if not error:
        claimed.update(**changes, status=Status.DELIVERED, next_attempt_at=None, delivered_at=timezone.now())
        return True
    if delivery.attempts >= MAX_ATTEMPTS:
        claimed.update(**changes, status=Status.GIVEN_UP, next_attempt_at=None)
        return False
    delay = RETRY_DELAYS[delivery.attempts - 1]
    claimed.update(**changes, next_attempt_at=timezone.now() + timedelta(seconds=delay))
    return False


def _is_suspended(pk: int) -> bool:
    """Whether the delivery's webhook is suspended after several timeouts. A test is sent anyway."""
    hook = WebhookDelivery.objects.filter(pk=pk).exclude(event=TEST).values_list("webhook_id", flat=True).first()
    try:
        return bool(django_rq.get_connection(_QUEUE).exists(f"{_TIMEOUTS_KEY.format(hook)}:rest"))
    except RedisError:
        return False


def count_timeout(hook: int, *, timed_out: bool) -> None:
    """Counts consecutive timeouts, and suspends the webhook at the limit; the first attempt afterwards counts on."""
    key = _TIMEOUTS_KEY.format(hook)
    try:
        server = django_rq.get_connection(_QUEUE)
        if not timed_out:
            server.delete(key, f"{key}:rest")
        elif server.incr(key) >= MAX_CONSECUTIVE_TIMEOUTS:
            server.set(f"{key}:rest", 1, ex=SUSPEND_SECONDS)
        server.expire(key, 86_400)
    except RedisError:
        logger.warning("the queue is not available; timeouts of webhook %s are not counted", hook)


def _post(delivery: WebhookDelivery) -> tuple[int | None, str]:
    """The status code, if there was a response, and the error as a sentence, "" if there is none."""
    body = payload_body(delivery)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "SLM-Studio-Webhook/1",
        "SLM-Event": delivery.event,
        "SLM-Delivery": str(delivery.pk),
        "SLM-Signature": signature(secret_of(delivery.webhook), body, int(time.time())),
    }
    try:
        outbound.check(delivery.webhook.url)
        with (
            outbound.deadline(TIMEOUT_SECONDS),
            outbound.client(timeout=TIMEOUT_SECONDS) as client,
            client.stream("POST", delivery.webhook.url, content=body, headers=headers) as response,
        ):
            code = response.status_code
    except Refused as error:
        return None, str(error)
    except httpx.TimeoutException:
        return None, f"There was no response within {TIMEOUT_SECONDS} seconds."
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return None, f"The URL cannot be reached ({type(error).__name__}: {str(error)[:150]})."
    if 200 <= code < 300:
        return code, ""
    if 300 <= code < 400:
        return code, f"The response was {code}, a redirect, which is not followed. Use the final URL."
    return code, f"The response was {code}; a 2xx status is required."


def payload_body(delivery: WebhookDelivery) -> bytes:
    """The body: equal in every attempt."""
    hook = delivery.webhook
    return dumps(
        {
            "id": str(delivery.pk),
            "event": delivery.event,
            "version": PAYLOAD_VERSION,
            "project": hook.project.slug,
            "created_at": delivery.created_at.isoformat(),
            "data": delivery.payload,
        }
    ).encode()


def secret_of(webhook: Webhook) -> str:
    """The signing secret, derived from the salt and the key that it names; it is not stored."""
    name, _, salt = webhook.salt.partition(":")
    digest = salted_hmac("labeling.webhook", salt, secret=key_named(name), algorithm="sha256")
    return f"whsec_{digest.hexdigest()}"


def new_salt() -> str:
    """A salt that names the current key."""
    return f"{name_of(settings.SECRET_KEY)}:{secrets.token_hex(16)}"


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """The value of ``SLM-Signature``."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def queue_due() -> int:
    """Queues due deliveries; a periodic task. Returns their number."""
    now = timezone.now()
    due = WebhookDelivery.objects.filter(status=Status.WAITING, next_attempt_at__lte=now).order_by("next_attempt_at")
    pks = list(due.values_list("pk", "attempts")[:_DUE_AT_ONCE])
    for pk, attempts in pks:
        _enqueue(pk, attempts)
    return len(pks)


def delete_old() -> int:
    """Deletes ended deliveries after thirty days; a periodic task. Returns their number."""
    before = timezone.now() - timedelta(days=RETENTION_DAYS)
    old = WebhookDelivery.objects.filter(created_at__lt=before).exclude(status=Status.WAITING)
    pks = list(old.order_by("pk").values_list("pk", flat=True)[:5_000])
    return WebhookDelivery.objects.filter(pk__in=pks).delete()[0] if pks else 0


def retry_schedule() -> str:
    """``RETRY_DELAYS`` for the page."""
    return "10 seconds, a minute, 5 minutes, half an hour, 2 hours and 6 hours"
