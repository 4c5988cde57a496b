"""How long requests are stored, and their erasure.

Texts and outputs are erased after the days that a deployment says; rows without them stay for at least 90 days, as
figures need them, and leave with their partition. What a gateway has not stored yet (half a second, or as long as the
database was away) is not erased.
"""

import logging
import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from evaluation.audit import services as audit_services
from labeling.documents.erasure import Erased
from labeling.documents.erasure import erase_documents as erase_made_documents
from labeling.models import Document, Project
from serving.batches.erasure import erase_documents
from serving.captures.services import SOURCE as CAPTURED
from serving.captures.services import caller_group
from serving.gateway.request_log.process import log_folder
from serving.gateway.request_log.store import erase_rejected
from serving.models import ComparisonPair, Deployment, RequestLog, ReviewItem
from serving.retention import packages
from serving.review import judgments
from serving.review.queue import SOURCE as REVIEWED
from slmstudio.access import Action, require
from slmstudio.errors import Refused

logger = logging.getLogger(__name__)
#: days that rows without text are stored, at least
ROW_DAYS = 90
MAX_IDS = 1_000
_BATCH = 5_000
#: the members of a row that quote a document or an output
_CONTENT: dict[str, Any] = {
    "text": "", "output": "", "first_output": "", "exchange": "", "response": "",
    "detail": "", "confidence": {}, "calibrated": {},
}  # fmt: skip


def run_retention() -> None:
    """Erases and drops what is too old; a periodic task."""
    erased = erase_expired()
    dropped = drop_old_partitions()
    deleted = packages.delete_all()
    if deleted:
        logger.info("deleted the files of %d old packages", deleted)
    if erased or dropped:
        logger.info("erased the texts of %d requests, dropped %d days of the request log", erased, dropped)


def erase_expired() -> int:
    """Erases texts and outputs that are older than their deployment stores them; returns the number of requests."""
    erased = 0
    now = timezone.now()
    for project_id, days in Deployment.objects.values_list("project_id", "retention_days"):
        before = now - timedelta(days=days)
        judgments.erase_expired(project_id, before)
        erased += _erase(_with_content().filter(project_id=project_id, created_at__lt=before, day__lte=before.date()))
    return erased


def drop_old_partitions() -> int:
    """Drops the days that no deployment stores any more; returns their number. None while others read them."""
    before = oldest_day()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # Requests wait behind a lock that is waited for: better try again in an hour.
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            cursor.execute("SELECT serving_drop_partitions(%s)", [before])
            dropped = int(cursor.fetchone()[0])
    except OperationalError as error:
        logger.warning("no day of the request log is dropped now: %s", error)
        return 0
    RequestLog.objects.filter(day__lt=before).delete()  # rows without a partition of their own
    return dropped


def oldest_day() -> date:
    """The first day whose rows are stored."""
    max_days = Deployment.objects.aggregate(days=Max("retention_days"))["days"] or 0
    # One day more: a day in UTC ends later than the time of its first request.
    return timezone.now().date() - timedelta(days=max(ROW_DAYS, max_days) + 1)


@dataclass(frozen=True)
class Erasure:
    """The number of erased requests, and the documents that were made of them.

    ``lines``: of ended batches and of the rejected lines of this host; ``live_batches``: they have such lines and are
    not changed before they end.
    """

    requests: int
    documents: Erased
    lines: int = 0
    live_batches: int = 0


def erase(
    *, project: Project, user: User | None, caller: str = "", ids: Iterable[str] = (), with_gold: bool = False
) -> Erasure:
    """Erases everything that leads back to a caller from their requests, with their shadows, and the documents that
    were made of them; those with a gold label only ``with_gold``.

    The audit log has the numbers and the ids, not the caller. ``user`` None: an operator at the command line.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is caller or ids: neither or both are given, or an id is invalid.
    """
    require(project, user, Action.ADMINISTER)
    caller, wanted = caller.strip(), [_parsed(request_id) for request_id in ids]
    if bool(caller) == bool(wanted):
        raise Refused("Enter a caller or request IDs.", field="caller", code="what")
    if len(wanted) > MAX_IDS:
        raise Refused(f"Enter at most {MAX_IDS:,} request IDs.", field="ids", code="too_many")
    with transaction.atomic():
        erasure = erase_rows(project, wanted, caller=caller, with_gold=with_gold)
        details: dict[str, Any] = {"by": "caller" if caller else "request", "requests": erasure.requests}
        details |= {"lines": erasure.lines} if erasure.lines else {}
        details |= {name: names for name, names in asdict(erasure.documents).items() if names}
        if wanted:
            details["ids"] = [str(request_id) for request_id in wanted]
        audit_services.record(project=project, user=user, action="erased", about="requests", details=details)
    return erasure


def erase_rows(
    project: Project,
    ids: Collection[uuid.UUID],
    *,
    caller: str = "",
    with_gold: bool = False,
    empty_in_use: bool = False,
) -> Erasure:
    """Erases the requests of a caller, or with these ids, as ``erase`` does, without an entry in the audit log.

    ``empty_in_use``: documents that something frozen rests on lose their content, too.
    """
    condition = Q(caller=caller) if caller else Q(id__in=ids) | Q(shadow_of__in=ids)
    rows = RequestLog.objects.filter(condition, project_id=project.pk)
    known = [*ids, *rows.values_list("id", flat=True)]
    names = [str(request_id) for request_id in known]
    items = judgments.items_of(project.pk, known)
    erased_documents = _erase_documents_of(
        project, known, items, caller=caller, with_gold=with_gold, empty_in_use=empty_in_use
    )
    judgments.erase_requests(project.pk, known)
    erased: int = rows.update(**_CONTENT, caller="", key_sha256="")
    lines, live = erase_documents(project, caller=caller, requests=names)
    lines += erase_rejected(log_folder(), project.pk, caller=caller, requests=names)
    return Erasure(erased, erased_documents, lines, live)


def _parsed(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(str(text).removeprefix("chatcmpl-"))
    except ValueError:
        raise Refused(f"{str(text)[:80]!r} is not a request ID.", field="ids", code="id") from None


def _with_content() -> QuerySet[RequestLog]:
    """Rows with a text, an output or a detail; the condition of the index ``request_with_content``."""
    return RequestLog.objects.exclude(text="", output="", exchange="", detail="")


def _erase(rows: QuerySet[RequestLog]) -> int:
    """Erases the content of rows in short transactions."""
    erased = 0
    while True:
        keys = list(rows.values_list("day", "id")[:_BATCH])
        if not keys:
            return erased
        days = {day for day, _ in keys}
        erased += RequestLog.objects.filter(day__in=days, id__in=[request_id for _, request_id in keys]).update(
            **_CONTENT
        )


def _erase_documents_of(
    project: Project,
    requests: Iterable[uuid.UUID],
    items: Iterable[int],
    *,
    caller: str,
    with_gold: bool,
    empty_in_use: bool,
) -> Erased:
    """Erases the documents of requests, of items of the review queue, and of a caller ("": of none).

    The documents of a caller are found also where the log no longer has their requests. Documents of comparisons stay.
    """
    ids = [str(request_id) for request_id in requests]
    captured = Q(source=CAPTURED, metadata__request_id__in=ids)
    if caller:
        captured |= Q(source=CAPTURED, metadata__caller_group=caller_group(project.pk, caller))
    reviewed = Q(source=REVIEWED) & (
        Q(metadata__request__in=ids) | Q(pk__in=ReviewItem.objects.filter(pk__in=list(items)).values("document"))
    )
    keys = list(Document.objects.filter(captured | reviewed, project=project).values_list("pk", flat=True))
    return erase_made_documents(keys, with_gold=with_gold, empty_in_use=empty_in_use, in_use=compared_documents(keys))


def compared_documents(keys: Collection[int]) -> set[int]:
    """Those of these documents whose row a comparison of two versions rests on."""
    return set(ComparisonPair.objects.filter(document__in=keys).values_list("document", flat=True))


def empty_pairs(keys: list[int]) -> None:
    """Erases the outputs of comparisons for these documents."""
    ComparisonPair.objects.filter(document__in=keys).update(stable_output="", candidate_output="")
