"""Telling other programs what happened in a project: webhooks, their deliveries, and the signature.

At least once: a delivery is a row, written in the transaction of what it tells, and tried until it is answered with 2xx
or ``PAUSES`` is used up. A receiver that gets one twice knows it by its id. The headers of a message:

``SLM-Delivery`` is the id, the same in every attempt; ``SLM-Event`` the event; ``SLM-Signature`` is
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
from urllib.parse import urlsplit

import django_rq
import httpx
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import salted_hmac
from redis.exceptions import RedisError
from rq.job import JobStatus

from labeling.models import Project, Webhook, WebhookDelivery
from slmstudio.audit import note
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.web import outbound

logger = logging.getLogger(__name__)

EVENTS: dict[str, str] = {
    "document.submitted": "a label was submitted",
    "document.approved": "a label was approved in review",
    "document.rejected": "a label was sent back in review",
    "document.skipped": "a document was skipped",
    "comment.added": "somebody commented on a document",
    "import.finished": "an import ended",
    "dataset.frozen": "a dataset version was frozen",
    "prelabel.finished": "a run of pre-labels ended",
}
#: what the button "send a test" sends; nobody subscribes to it
TEST = "test"
#: seconds from one failed attempt to the next; after the last one the delivery is given up
PAUSES = (10, 60, 300, 1_800, 7_200, 21_600)
MOST_ATTEMPTS = len(PAUSES) + 1
TIMEOUT_SECONDS = 10
MOST_WEBHOOKS = 20
KEPT_DAYS = 30
JOB = "labeling.jobs.deliver_webhook"
_QUEUE = "webhooks"
_DUE_AT_ONCE = 200
#: a webhook where nobody answered so often in a row is left in peace for so many seconds: each try costs a worker ten
MOST_SILENT, REST_SECONDS = 5, 120
_SILENT = "slm:webhook:{}:silent"
#: a delivery that was claimed and not answered for this long is due again: its worker has gone
_LEASE = timedelta(seconds=90)
#: the call itself has a deadline; a name may take long to resolve
_JOB_SECONDS = 60

Status = WebhookDelivery.Status


# -- what is told ------------------------------------------------------------------------------------------------------


def emit(project: Project, event: str, payload: dict[str, Any]) -> None:
    """Tells the project's webhooks of an event after commit. Costs nothing where none listens.

    ``project.webhook_events`` must be loaded; ``payload`` is JSON: ids and addresses, no texts. Must be called inside
    the transaction of what it tells of, so that both are there or neither.
    """
    if event not in project.webhook_events:
        return
    hooks = Webhook.objects.filter(project=project, active=True, events__contains=[event]).values_list("pk", flat=True)
    _send(hooks, event, payload)


def send_test(*, webhook: Webhook, user: User) -> WebhookDelivery:
    """Sends a message that says it is a test, whether the webhook is switched on or not."""
    return _send([webhook.pk], TEST, {"message": "This is a test of this webhook.", "by": user.get_username()})[0]


def redeliver(*, delivery: WebhookDelivery) -> WebhookDelivery:
    """Sends a message again under the same id, with all its attempts before it.

    Raises:
        Refused: it is still being tried.
    """
    if delivery.status == Status.WAITING:
        raise Refused("This delivery is still being tried.", field="form")
    changed = WebhookDelivery.objects.filter(pk=delivery.pk).exclude(status=Status.WAITING)
    if changed.update(status=Status.WAITING, attempts=0, next_attempt_at=timezone.now(), error="") == 1:
        _enqueue(delivery.pk, 0)
    delivery.refresh_from_db()
    return delivery


def _send(hooks: Iterable[int], event: str, payload: dict[str, Any]) -> list[WebhookDelivery]:
    now = timezone.now()
    with transaction.atomic():
        made = WebhookDelivery.objects.bulk_create(
            WebhookDelivery(webhook_id=pk, event=event, payload=payload, next_attempt_at=now, created_at=now)
            for pk in hooks
        )
        for delivery in made:
            _enqueue(delivery.pk, 0)
    return made


def _enqueue(pk: int, attempts: int, pause: int = 0) -> None:
    """Queues the attempt after ``attempts`` others once committed, unless it waits in the queue already. A queue that
    does not answer costs nothing: the sweep finds what is due.
    """

    def put() -> None:
        try:
            queue = django_rq.get_queue(_QUEUE)
            job_id = f"webhook-{pk}-{attempts}"
            there = queue.fetch_job(job_id)
            if there is not None and there.get_status() == JobStatus.QUEUED:
                return
            more = {"job_id": job_id, "result_ttl": 0, "failure_ttl": 3600, "job_timeout": _JOB_SECONDS}
            if pause:
                queue.enqueue_in(timedelta(seconds=pause), JOB, pk, **more)
            else:
                queue.enqueue(JOB, pk, **more)
        except RedisError:
            logger.warning("the queue does not answer; webhook delivery %s waits for the sweep", pk)

    transaction.on_commit(put)


# -- delivering --------------------------------------------------------------------------------------------------------


def deliver(pk: int) -> bool:
    """One attempt of a delivery that is due; True where it arrived. Does nothing where another worker has it.

    The request is made outside of any transaction. Called by the job; a row that has gone ends quietly.
    """
    now = timezone.now()
    due = WebhookDelivery.objects.filter(pk=pk, status=Status.WAITING, next_attempt_at__lte=now)
    if due.filter(attempts__gte=MOST_ATTEMPTS).update(status=Status.GIVEN_UP, next_attempt_at=None):
        return False
    if _is_resting(pk):
        # Not an attempt; the sweep brings it back.
        due.update(next_attempt_at=now + timedelta(seconds=REST_SECONDS))
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
    mine = WebhookDelivery.objects.filter(pk=pk, status=Status.WAITING, attempts=delivery.attempts)
    _note(delivery.webhook_id, silent=code is None)
    if not error:
        mine.update(**changes, status=Status.DELIVERED, next_attempt_at=None, delivered_at=timezone.now())
        return True
    if delivery.attempts >= MOST_ATTEMPTS:
        mine.update(**changes, status=Status.GIVEN_UP, next_attempt_at=None)
        return False
    pause = PAUSES[delivery.attempts - 1]
    mine.update(**changes, next_attempt_at=timezone.now() + timedelta(seconds=pause))
    _enqueue(pk, delivery.attempts, pause)
    return False


def _is_resting(pk: int) -> bool:
    """Whether nobody answered at the delivery's webhook several times in a row. A test is sent all the same."""
    hook = WebhookDelivery.objects.filter(pk=pk).exclude(event=TEST).values_list("webhook_id", flat=True).first()
    try:
        return bool(django_rq.get_connection(_QUEUE).exists(f"{_SILENT.format(hook)}:rest"))
    except RedisError:
        return False


def _note(hook: int, *, silent: bool) -> None:
    """Counts how often in a row nobody answered; after a rest one is sent, and if nobody answers it rests again."""
    key = _SILENT.format(hook)
    try:
        server = django_rq.get_connection(_QUEUE)
        if not silent:
            server.delete(key, f"{key}:rest")
        elif server.incr(key) >= MOST_SILENT:
            server.set(f"{key}:rest", 1, ex=REST_SECONDS)
        server.expire(key, 86_400)
    except RedisError:
        logger.warning("the queue does not answer; webhook %s is asked on", hook)


def _post(delivery: WebhookDelivery) -> tuple[int | None, str]:
    """The answer's status, if there was one, and what went wrong in a sentence, "" if nothing."""
    body = message(delivery)
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
            client.stream("POST", delivery.webhook.url, content=body, headers=headers) as answer,
        ):
            code = answer.status_code
    except Refused as error:
        return None, str(error)
    except httpx.TimeoutException:
        return None, f"It did not answer within {TIMEOUT_SECONDS} seconds."
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return None, f"It cannot be reached ({type(error).__name__}: {str(error)[:150]})."
    if 200 <= code < 300:
        return code, ""
    if 300 <= code < 400:
        return code, f"It answered {code}, a redirect; those are not followed. Give the final address."
    return code, f"It answered {code} where a 2xx is needed."


def message(delivery: WebhookDelivery) -> bytes:
    """The body: the same bytes in every attempt."""
    hook = delivery.webhook
    return dumps(
        {
            "id": str(delivery.pk),
            "event": delivery.event,
            "project": hook.project.slug,
            "created_at": delivery.created_at.isoformat(),
            "data": delivery.payload,
        }
    ).encode()


def secret_of(webhook: Webhook) -> str:
    """The secret that signs a webhook's messages: made from SECRET_KEY and the webhook's salt, stored nowhere."""
    return f"whsec_{salted_hmac('labeling.webhook', webhook.salt, algorithm='sha256').hexdigest()}"


def signature(secret: str, body: bytes, timestamp: int) -> str:
    """The value of ``SLM-Signature``."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def sweep() -> tuple[int, int]:
    """Queues every delivery that is due and perhaps forgotten by the queue; removes ended ones after thirty days. How
    many of both.
    """
    now = timezone.now()
    late = now - timedelta(seconds=5)  # what became due this moment is in the queue already
    due = WebhookDelivery.objects.filter(status=Status.WAITING, next_attempt_at__lte=late).order_by("next_attempt_at")
    pks = list(due.values_list("pk", "attempts")[:_DUE_AT_ONCE])
    for pk, attempts in pks:
        _enqueue(pk, attempts)
    old = WebhookDelivery.objects.filter(created_at__lt=now - timedelta(days=KEPT_DAYS)).exclude(status=Status.WAITING)
    ended = list(old.order_by("pk").values_list("pk", flat=True)[:5_000])
    removed, _ = WebhookDelivery.objects.filter(pk__in=ended).delete() if ended else (0, {})
    return len(pks), removed


# -- the webhooks themselves -------------------------------------------------------------------------------------------


def create(*, project: Project, user: User, url: str, events: Iterable[str], active: bool = True) -> Webhook:
    """A new webhook of a project.

    Raises:
        Refused: the address is none or not allowed, an event is unknown, or there are twenty already.
    """
    hook = Webhook(project=project, salt=secrets.token_hex(16), created_by=user)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if project.webhooks.count() >= MOST_WEBHOOKS:
            raise Refused(f"A project has at most {MOST_WEBHOOKS} webhooks. Remove one first.", field="form")
        _fill(hook, url, events, active)
        hook.save()
        _note_events(project)
        note(project=project, user=user, action="added", about=f"webhook {hook.pk}", details=_details(hook))
    return hook


def change(
    *,
    webhook: Webhook,
    user: User,
    url: str | None = None,
    events: Iterable[str] | None = None,
    active: bool | None = None,
) -> Webhook:
    """Changes what is given of a webhook.

    Raises:
        Refused: as ``create``.
    """
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=webhook.project_id)
        hook = Webhook.objects.select_for_update().get(pk=webhook.pk)
        before = _details(hook)
        _fill(
            hook,
            hook.url if url is None else url,
            hook.events if events is None else events,
            hook.active if active is None else active,
        )
        hook.save(update_fields=["url", "events", "active"])
        _note_events(project)
        if before != _details(hook):
            details = {"before": before, "after": _details(hook)}
            note(project=project, user=user, action="changed", about=f"webhook {hook.pk}", details=details)
        transaction.on_commit(lambda: _note(hook.pk, silent=False))  # perhaps it answers now
    hook.project = project
    return hook


def new_secret(*, webhook: Webhook, user: User) -> str:
    """Gives a webhook another secret; the one before is worth nothing from now on."""
    webhook.salt = secrets.token_hex(16)
    with transaction.atomic():
        webhook.save(update_fields=["salt"])
        note(project=webhook.project, user=user, action="changed the secret of", about=f"webhook {webhook.pk}")
    return secret_of(webhook)


def remove(*, webhook: Webhook, user: User) -> None:
    """Removes a webhook with its log; what has not been delivered by now never is."""
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=webhook.project_id)
        note(project=project, user=user, action="removed", about=f"webhook {webhook.pk}", details=_details(webhook))
        Webhook.objects.filter(pk=webhook.pk).delete()
        _note_events(project)


def _details(hook: Webhook) -> dict[str, Any]:
    return {"url": shown_url(hook.url), "events": list(hook.events), "active": hook.active}


def _fill(hook: Webhook, url: str, events: Iterable[str], active: bool) -> None:
    chosen = set(events)
    unknown = sorted(chosen.difference(EVENTS))
    if unknown:
        raise Refused(f"There is no event {unknown[0]}; there are {', '.join(EVENTS)}.", field="events")
    if not chosen:
        raise Refused("Choose at least one event.", field="events")
    if url != hook.url:
        try:
            outbound.check(url)
        except Refused as error:
            raise Refused(str(error), field="url") from error
    hook.url, hook.events, hook.active = url, [name for name in EVENTS if name in chosen], active
    try:
        hook.full_clean(exclude=["project", "created_by"])
    except ValidationError as error:
        raise Refused(" ".join(error.messages), field="url") from error


def _note_events(project: Project) -> None:
    """Keeps on the project what its webhooks listen to together, so that ``emit`` needs no query where none does."""
    heard: set[str] = set()
    for events in Webhook.objects.filter(project=project, active=True).values_list("events", flat=True):
        heard.update(events)
    project.webhook_events = [name for name in EVENTS if name in heard]
    Project.objects.filter(pk=project.pk).update(webhook_events=project.webhook_events)


def shown_url(url: str) -> str:
    """An address without what may be secret in it: only scheme and host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"


def pauses_in_words() -> str:
    """``PAUSES``, as a page says it."""
    return "10 seconds, a minute, 5 minutes, half an hour, 2 hours and 6 hours"
