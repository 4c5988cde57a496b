"""The workers page: live workers, queued jobs, failed jobs; for users who may start runs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from redis.exceptions import RedisError

from slmstudio.access import Action, may
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.web.requests import SignedInRequest
from slmstudio.workers.failed_jobs import JobNotFound, discard_job, failed_job, requeue_job
from slmstudio.workers.live_workers import LiveWorker, live_workers, missing_worker
from slmstudio.workers.queues import FailedJob, failed_jobs, project_of, queue_states, runs_of, runs_of_failed


@dataclass(frozen=True)
class WorkersPageAccess:
    """The viewer's permissions: their role in each project, and whether they may see the whole installation."""

    roles: dict[int, str]
    all: bool

    @classmethod
    def of(cls, user: User) -> "WorkersPageAccess":
        """Raises PermissionDenied for a user who may not start runs in any project."""
        roles = dict(user.memberships.values_list("project_id", "role"))
        everything = user.is_staff or user.is_superuser
        if not (everything or any(may(role, Action.RUN) for role in roles.values())):
            raise PermissionDenied("Workers are shown to engineers and owners of a project.")
        return cls(roles, everything)

    def can_view(self, run: BackgroundRun | None) -> bool:
        """Whether a run may be shown to this user. Runs of no project are shown to staff."""
        project = project_of(run) if run is not None else None
        return self.all if project is None else project.pk in self.roles

    def can_requeue(self, run: BackgroundRun | None) -> bool:
        """Whether this user may requeue its failed job."""
        project = project_of(run) if run is not None else None
        if project is None or self.all:
            return self.all
        return may(self.roles.get(project.pk, ""), Action.RUN) if project.pk in self.roles else False


@dataclass(frozen=True)
class VisibleRun:
    """A run as a user may see it."""

    words: str
    url: str = ""
    percent: int | None = None
    stage: str = ""


@dataclass(frozen=True)
class WorkerRow:
    """A worker, the age of its heartbeat in seconds, and its current job."""

    worker: LiveWorker
    age: int
    job: VisibleRun | None


@dataclass(frozen=True)
class FailedRow:
    """A failed job as a user may see it."""

    job: FailedJob
    run: VisibleRun
    error: str
    ended: datetime | None
    can_requeue: bool


@require_safe
def workers(request: SignedInRequest) -> HttpResponse:
    """The page, and the part of it that refreshes itself."""
    viewer = WorkersPageAccess.of(request.user)
    part = request.GET.get("part") == "live"
    if not part:
        reap_lost_runs()  # the page shows runs as they are, even if no timer runs the reaper
    context: dict[str, Any] = {"problem": "", "queues": [], "workers": [], "failed": []}
    try:
        workers_now = live_workers()
        context["queues"] = queue_states(workers_now)
        context["workers"] = _worker_rows(workers_now, viewer)
        context["failed"] = _failed_rows(failed_jobs(), viewer)
    except RedisError as error:
        context["problem"] = f"The job queue is not reachable ({type(error).__name__}). Jobs stay queued until it is."
    context["warnings"] = [
        missing_worker(queue.name, queue.waiting) for queue in context["queues"] if not queue.workers
    ]
    context["failed_total"] = sum(queue.failed for queue in context["queues"])
    return render(request, "workers.html#live" if part else "workers.html", context)


def _worker_rows(workers: list[LiveWorker], viewer: WorkersPageAccess) -> list[WorkerRow]:
    runs = runs_of(job for worker in workers for job in worker.job_ids)
    now = timezone.now()
    rows = []
    for worker in workers:
        job = None
        if worker.job_ids:
            run = runs.get(worker.job_ids[0])
            job = _named(run, viewer) if run is not None else VisibleRun("a job")
        rows.append(WorkerRow(worker, max(1, round((now - worker.beat).total_seconds())), job))
    return rows


def _failed_rows(jobs: list[FailedJob], viewer: WorkersPageAccess) -> list[FailedRow]:
    runs = runs_of_failed(jobs)
    rows = []
    for job in jobs:
        run = runs.get(job.id)
        shown = viewer.can_view(run)
        words = _named(run, viewer) if run is not None else VisibleRun(job.function or "a job")
        error = job.error if shown else "Only members of the project can see the error."
        rows.append(FailedRow(job, words, error, job.ended, viewer.can_requeue(run)))
    return rows


def _named(run: BackgroundRun, viewer: WorkersPageAccess) -> VisibleRun:
    kind = str(run._meta.verbose_name)
    if not viewer.can_view(run):
        return VisibleRun(f"{kind} of another project")
    project = project_of(run)
    url = ""
    # Staff see what runs, but pages of a project are for its members.
    if project is not None and project.pk in viewer.roles and hasattr(run, "get_absolute_url"):
        try:
            url = run.get_absolute_url()
        except NoReverseMatch:
            url = ""
    words = f"{kind}: {run}" + (f" ({project})" if project is not None else "")
    return VisibleRun(words, url, run.percent if run.is_live and run.progress_total else None, run.stage)


@require_POST
def manage_failed_job(request: SignedInRequest, queue: str, job_id: str) -> HttpResponse:
    """Requeues a failed job (``do=requeue``) or removes it (``do=remove``)."""
    viewer = WorkersPageAccess.of(request.user)
    if queue not in settings.RQ_QUEUES:
        raise Http404
    back = HttpResponseRedirect(reverse("workers"))
    try:
        job = failed_job(queue, job_id)
        run = runs_of_failed([job]).get(job.id)
        if not viewer.can_view(run):
            raise Http404
        if not viewer.can_requeue(run):
            raise PermissionDenied("Only an engineer or owner of its project can requeue a failed job.")
        if request.POST.get("do") == "requeue":
            again = requeue_job(job, run, request.user)
            messages.success(request, "The job is queued again." if again else "The run is active or already finished.")
        elif request.POST.get("do") == "remove":
            discard_job(job)
            messages.success(request, "The failed job was removed. Its run is unchanged.")
        else:
            return HttpResponse("do must be requeue or remove", status=400, content_type="text/plain")
    except JobNotFound:
        messages.info(request, "The job is no longer in the failed list.")
    except Refused as error:
        messages.error(request, str(error))
    except RedisError as error:
        messages.error(request, f"The job queue is not reachable ({type(error).__name__}). Nothing was changed.")
    return back
