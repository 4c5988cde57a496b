"""Starts and cancels replays."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from labeling.models import Project
from serving.models import Deployment, Release, Replay, RequestLog, Stage
from slmstudio.access import Action, require
from slmstudio.errors import Refused

MAX_REQUESTS = 20_000


def start(*, deployment: Deployment, user: User, limit: int) -> Replay:
    """Queues a replay of at most ``limit`` logged requests for the candidate in shadow.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: there is no candidate in shadow, a replay runs, or no stored request is left; ``field`` may be limit.
    """
    require(deployment.project, user, Action.DEPLOY)
    candidate, stable = deployment.candidate, deployment.stable
    if deployment.stage != Stage.SHADOW or candidate is None or stable is None:
        raise Refused("Only a candidate in shadow can answer a replay.", field="form", code="no_candidate")
    if not 1 <= limit <= MAX_REQUESTS:
        raise Refused(f"Enter 1 to {MAX_REQUESTS:,} requests.", field="limit", code="limit")
    with transaction.atomic():
        Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk)
        if Replay.objects.live().filter(project=deployment.project).exists():
            raise Refused("A replay is already running.", field="form", code="busy")
        left = pending(deployment.project, stable, candidate, limit)
        if not left:
            raise Refused("The candidate has already answered every stored request.", field="limit", code="nothing")
        replay = Replay(
            project=deployment.project, number=deployment.project.next_number(Replay),
            candidate=candidate, stable=stable, created_by=user,
            progress_total=len(left), facts={"limit": limit},
        )  # fmt: skip
        replay.full_clean()
        replay.save()
        audit_services.record(
            project=deployment.project, user=user, action="started", about=str(replay), details={"requests": len(left)}
        )
        replay.enqueue()
    return replay


def cancel(*, replay: Replay, user: User) -> bool:
    """Cancels it; what was answered counts. False if it has ended."""
    require(replay.project, user, Action.DEPLOY)
    return replay.cancel()


def pending(project: Project, stable: Release, candidate: Release, limit: int) -> list[tuple[Any, Any]]:
    """Day and id of stored requests that the stable release answered or failed, the newest first, without those that
    the candidate answered already. Each document once."""
    with_text = RequestLog.objects.filter(project_id=project.pk, release=stable, shadow_of=None).exclude(text="")
    rows = with_text.filter(status=200) | with_text.filter(status__gte=500)
    answered = RequestLog.objects.filter(project_id=project.pk, release=candidate, shadow_of__isnull=False).exclude(
        status=429
    )
    done = set(answered.values_list("key_sha256", flat=True))
    found: list[tuple[Any, Any]] = []
    for day, pk, key in rows.order_by("-created_at").values_list("day", "id", "key_sha256").iterator():
        if key not in done and key:
            done.add(key)
            found.append((day, pk))
            if len(found) == limit:
                break
    return found
