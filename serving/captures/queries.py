"""What the page of captured traffic shows."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db.models import Count, Min, Q, QuerySet

from labeling.models import Project
from serving.models import CaptureKey, RequestLog
from serving.models.callers import CaptureKeyQuerySet

PROTOCOL = "capture"
#: newest requests that are read for their system prompts
_READ = 1_000
MAX_INSTRUCTIONS = 5


@dataclass(frozen=True)
class CapturedAnswer:
    """What the external model answered. ``valid``: it matches the contract."""

    content: str
    model: str
    valid: bool
    seconds: float


def captured(project: Project) -> QuerySet[RequestLog]:
    """Forwarded requests of a project."""
    rows: QuerySet[RequestLog] = RequestLog.objects.filter(
        project_id=project.pk, protocol=PROTOCOL, shadow_of=None, release__endpoint__isnull=False
    )
    return rows


def documents(project: Project) -> QuerySet[RequestLog]:
    """Those of one document, answered with a text, that are still stored; of known callers only.

    Before keys were registered, anyone with a key of the external model could write to the log.
    """
    since = CaptureKey.objects.filter(project=project).aggregate(first=Min("created_at"))["first"]
    known = Q(token_id__isnull=False)
    if since is not None:
        known |= Q(created_at__gte=since)
    return captured(project).filter(known, status=200, valid__isnull=False).exclude(text="")


def answer_of(row: RequestLog) -> CapturedAnswer:
    """The answer in a row."""
    model = exchange_of(row).get("model") or str(row.release.endpoint if row.release else "external model")
    return CapturedAnswer(row.output, str(model)[:200], bool(row.valid), row.model_ms / 1000)


def exchange_of(row: RequestLog) -> dict[str, Any]:
    """The stored exchange; {} where there is none."""
    try:
        value = orjson.loads(row.exchange)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def instructions(project: Project) -> list[tuple[str, int]]:
    """The system prompts of the newest captured documents with their numbers, the most frequent first."""
    rows = documents(project).order_by("-created_at").only("exchange")[:_READ]
    counts = Counter(str(exchange_of(row).get("system") or "").strip() for row in rows)
    current = project.contract.instruction.strip()
    return [(text, number) for text, number in counts.most_common(MAX_INSTRUCTIONS) if text and text != current]


def traffic(project: Project, now: datetime) -> dict[str, int]:
    """Captured requests of the last day, and stored documents."""
    since = now - timedelta(days=1)
    counts = (
        captured(project)
        .filter(created_at__gte=since, day__gte=since.date())
        .aggregate(
            requests=Count("id"),
            documents=Count("id", filter=Q(valid__isnull=False)),
            matching=Count("id", filter=Q(valid=True)),
            failed=Count("id", filter=Q(status__gte=500)),
        )
    )
    stored = documents(project).aggregate(number=Count("key_sha256", distinct=True))
    return {**counts, "stored": stored["number"]}


def all_keys(project: Project) -> CaptureKeyQuerySet:
    """The keys of callers that were ever registered, the oldest first."""
    rows: CaptureKeyQuerySet = CaptureKey.objects.filter(project=project).select_related("project", "created_by")
    return rows.order_by("pk")
