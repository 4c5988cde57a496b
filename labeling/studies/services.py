"""Studies: started, run, advanced, cancelled, resumed; the same for every kind."""

import logging
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling.models import Project, Study
from labeling.studies.kinds import Stopped, StudyKind, StudySpec, known_kind, read_spec, spec_of
from slmstudio import quotas
from slmstudio.access import require
from slmstudio.database.transactions import UNAVAILABLE, with_retries
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.runs.models import Status, requeued_columns, resumed_by
from slmstudio.runs.supervisor import stop_on_signal, stop_requested

logger = logging.getLogger(__name__)
MAX_NAME_LENGTH = 120


@transaction.atomic
def start(
    *,
    project: Project,
    user: User | None,
    kind: StudyKind[Any],
    spec: StudySpec | Mapping[str, Any],
    name: str = "",
) -> Study:
    """Starts a study, or queues its job. The user None is the studio itself.

    Raises:
        Refused: by field of the spec, ``name``, or "form" with the code ``quota``.
    """
    require(project, user, kind.action)
    if len(name) > MAX_NAME_LENGTH:
        raise Refused(f"A name can have at most {MAX_NAME_LENGTH} characters.", field="name")
    checked = spec if isinstance(spec, StudySpec) else read_spec(kind, project, spec)
    composed = kind.is_composed(checked)
    if (composed or kind.on_gpu) and (problem := quotas.compute_problem(project)):
        raise Refused(problem, field="form", code="quota")
    study = Study(
        project=project,
        kind=kind.key,
        number=project.next_number(Study, kind=kind.key),
        name=name.strip(),
        on_gpu=kind.on_gpu,
        spec=checked.model_dump(mode="json"),
        created_by=user,
    )
    kind.plan(study, checked)
    if composed:
        study.status, study.started_at = Status.RUNNING, timezone.now()
    study.save()
    details = {"kind": kind.key, **study.spec}
    note_audit(project=project, user=user, action="started", about=str(study)[:200], details=details)
    _begin(study, kind, checked)
    return study


def _begin(study: Study, kind: StudyKind[Any], spec: StudySpec) -> None:
    kind.begin(study, spec)
    if kind.is_composed(spec):
        advance(study.pk)
        study.refresh_from_db()
    else:
        study.enqueue()


def run_study(pk: int) -> None:
    """The job of a study. Delivered twice, it works once; after an interruption it continues with the next trial."""
    rows = Study.objects.select_related("project", "dataset__schema_version", "created_by")
    study: Study | None = rows.filter(pk=pk).first()
    if study is None or not study.claim_attempt():
        return
    try:
        with stop_on_signal(), keep_alive(study):
            _run(study)
    except Stopped:
        with_retries(study.release_attempt if stop_requested() else study.cancelled)
    except (Refused, FileNotFoundError) as error:
        message = str(error)
        with_retries(lambda: study.fail(message))
    except UNAVAILABLE:
        logger.exception("%s lost the database", study)
        raise
    except Exception as error:
        logger.exception("%s of project %s failed", study, study.project_id)
        message = f"Unexpected error ({type(error).__name__}: {str(error)[:300]})."
        with_retries(lambda: study.fail(message))


def _run(study: Study) -> None:
    kind, spec = known_kind(study), spec_of(study)
    for trial in kind.steps(study, spec):
        trials = [*study.trials, trial]
        goes_on = with_retries(lambda: study.send_heartbeat(trials=trials, progress_done=len(trials)))  # noqa: B023
        if stop_requested() or not goes_on:
            raise Stopped
    with transaction.atomic():
        result = kind.conclude(study, spec)
        if not study.send_heartbeat() or not study.finish(result=result):
            raise Stopped


# -- composed studies ---------------------------------------------------------------------------------------------


def advance(pk: int) -> None:
    """Brings a composed study up to date with its runs. Safe to call at any time."""
    with transaction.atomic():
        study = Study.objects.select_for_update(of=("self",)).composed().filter(pk=pk).first()
        if study is not None:
            known_kind(study).advance(study, spec_of(study))


def advance_all() -> None:
    """Advances every live composed study: finds what was missed because a process died."""
    for pk in Study.objects.composed().values_list("pk", flat=True):
        try:
            advance(pk)
        except Exception:  # one study must not stop the others, nor the reaper
            logger.exception("study %s could not be advanced", pk)


def on_run_changed(run: Any) -> None:
    """A run of a composed study has changed: the study is advanced after the transaction, which must not fail for
    it.
    """
    if run.study_id is not None:
        transaction.on_commit(lambda: advance(run.study_id), robust=True)


# -- by hand ------------------------------------------------------------------------------------------------------


@transaction.atomic
def cancel(*, study: Study, user: User | None) -> bool:
    """Cancels a queued study at once, and asks a running one or its runs to stop. Its trials are kept. False if it had
    ended.
    """
    require(study.project, user, known_kind(study).action)
    if not study.cancel():
        return False
    note_audit(project=study.project, user=user, action="cancelled", about=str(study)[:200])
    advance(study.pk)
    study.refresh_from_db()
    return True


@transaction.atomic
def resume(*, study: Study, user: User) -> None:
    """Continues a study that failed or was cancelled. Its trials are kept.

    Raises:
        Refused: it did not, or a quota is used up.
    """
    require(study.project, user, known_kind(study).action)
    kind, spec = known_kind(study), spec_of(study)
    locked: Study = Study.objects.select_for_update(of=("self",)).select_related("project").get(pk=study.pk)
    if not locked.can_resume:
        raise Refused(f"This study is {locked.get_status_display().lower()} and cannot be resumed.", code="not_ended")
    composed = kind.is_composed(spec)
    if (composed or kind.on_gpu) and (problem := quotas.compute_problem(locked.project)):
        raise Refused(problem, field="form", code="quota")
    locked.facts = {**resumed_by(locked.facts, user), "forgiven": int(locked.facts.get("attempts") or 0)}
    for column, value in requeued_columns().items():
        setattr(locked, column, value)
    if composed:
        locked.status = Status.RUNNING
    locked.created_by = locked.created_by or user
    locked.save()
    note_audit(project=locked.project, user=user, action="resumed", about=str(locked)[:200])
    _begin(locked, kind, spec)


def file_keys(project: Project) -> list[str]:
    """Keys of the folders of a project's studies in the artifact store."""
    return [study.folder_key for study in Study.objects.filter(project=project, on_gpu=True).only("facts")]
