"""Starts, cancels, resumes and erases batches."""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import IO, Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.integrations import events
from labeling.models import ApiToken, Project
from serving.batches import lines
from serving.models import BatchRun, Deployment
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE
from slmstudio.storage.artifacts import local_path

EVENT = "batch.finished"
MAX_KEY = 200
#: of a project at the same time
MAX_LIVE = 20
#: days that the files of an ended batch are kept at least, also where a project stores no texts: someone fetches them
MIN_DAYS = 1
_BUFFER = 2**20


def start(
    *,
    project: Project,
    user: User | None,
    source: IO[bytes],
    name: str,
    token: ApiToken | None = None,
    key: str = "",
    evidence: bool = True,
) -> tuple[BatchRun, bool]:
    """Stores the input and queues its batch; returns it and whether it is new: a key starts one batch only.

    Raises:
        Refused: nothing is deployed, the input cannot be read, or the key was used for another one.
    """
    require(project, user, Action.DEPLOY)
    if len(key) > MAX_KEY or not (key.isprintable() or not key):
        raise Refused(f"Idempotency-Key can have at most {MAX_KEY} printable characters.", field="key", code="key")
    sha256 = _hash(source)
    if known := _of_key(project, key):
        return _same(known, sha256), False
    deployment = Deployment.objects.filter(project=project).first()
    if deployment is None or not deployment.serving:
        raise Refused("No model of this project is deployed.", field="form", code="not_deployed")
    if BatchRun.objects.filter(project=project).live().count() >= MAX_LIVE:
        raise Refused(
            f"This project already has {MAX_LIVE} unfinished batches. Cancel one, or wait until one ends.",
            field="form",
            code="too_many_live",
        )
    if problem := quotas.storage_problem(project):
        raise Refused(problem, field="form", code="storage")
    folder = f"batches/{project.pk}/{uuid.uuid4().hex}"
    input_key = f"{folder}/input.jsonl"
    path = local_path(input_key)
    try:
        total = lines.normalize(source, path)
        run = BatchRun(
            project=project, created_by=user, token=token, name=" ".join(name.split())[:200] or "batch", sha256=sha256,
            idempotency_key=key, evidence=evidence, input_key=input_key, result_key=f"{folder}/result.jsonl",
            progress_total=total,
        )  # fmt: skip
        with transaction.atomic():
            run.save()
            run.enqueue()
    except IntegrityError:  # the same key in two requests
        _remove(input_key)
        known = _of_key(project, key)
        assert known is not None
        return _same(known, sha256), False
    except BaseException:
        _remove(input_key)
        raise
    return run, True


def _hash(source: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := source.read(_BUFFER):
        digest.update(piece)
    source.seek(0)
    return digest.hexdigest()


def _of_key(project: Project, key: str) -> BatchRun | None:
    run: BatchRun | None = BatchRun.objects.filter(project=project, idempotency_key=key).first() if key else None
    return run


def _same(run: BatchRun, sha256: str) -> BatchRun:
    if run.sha256 != sha256:
        raise Refused(
            "The Idempotency-Key was already used for a different file. Use a new key.",
            field="key",
            code="idempotency_key",
        )
    return run


def cancel(*, run: BatchRun, user: User) -> None:
    """Cancels a batch; what was answered stays in its result."""
    require(run.project, user, Action.DEPLOY)
    with transaction.atomic():
        if run.cancel() and not run.is_live:
            emit(run)


def resume(*, run: BatchRun, user: User | None) -> None:
    """Queues a batch again that stopped before its last line. Raises Refused."""
    require(run.project, user, Action.DEPLOY)
    with transaction.atomic():
        locked = BatchRun.objects.select_for_update().get(pk=run.pk)
        if not locked.can_resume:
            raise Refused("The batch has already ended.", field="form", code="ended")
        total, done = locked.progress_total, locked.progress_done
        locked.requeue_by(user)
        BatchRun.objects.filter(pk=run.pk).update(progress_total=total, progress_done=done, code="", facts={})


def emit(run: BatchRun) -> None:
    """Tells the project's webhooks that a batch has ended. Inside the transaction of its end."""
    payload: dict[str, Any] = {
        "batch": run.pk, "name": run.name, "status": run.status, "code": run.code, "answered": run.answered,
        "failed": run.failed, "total": run.progress_total, "url": run.get_absolute_url(),
        "result": f"/api/v1/projects/{run.project.slug}/extract/batch/{run.pk}/result",
    }  # fmt: skip
    events.emit(run.project, EVENT, payload)


def erase_expired() -> int:
    """Deletes the files of batches that ended longer ago than their project stores texts; returns their number."""
    erased = 0
    now = timezone.now()
    days = dict(Deployment.objects.values_list("project_id", "retention_days"))
    ended = BatchRun.objects.filter(erased_at=None, finished_at__lt=now - timedelta(days=MIN_DAYS))
    for run in ended.exclude(status__in=ACTIVE):
        kept = timedelta(days=max(MIN_DAYS, days.get(run.project_id, MIN_DAYS)))
        if run.finished_at is not None and run.finished_at < now - kept:
            erase(run)
            erased += 1
    return erased


def erase(run: BatchRun) -> None:
    """Deletes the files of a batch that has ended; its counts stay."""
    _remove(run.input_key, run.result_key)
    BatchRun.objects.filter(pk=run.pk).update(input_key="", result_key="", erased_at=timezone.now())


def _remove(*keys: str) -> None:
    for key in filter(None, keys):
        path = local_path(key)
        path.unlink(missing_ok=True)
        try:
            path.parent.rmdir()
        except OSError:
            pass  # the other file is still there


def file_keys(project: Any) -> Iterable[str]:
    """The files of a project's batches, for its quota and its removal."""
    for keys in BatchRun.objects.filter(project=project, erased_at=None).values_list("input_key", "result_key"):
        yield from filter(None, keys)
