"""The workers page: live workers, queued jobs, failed jobs; for users who may start runs."""

from contextlib import suppress
from dataclasses import dataclass
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
from slmstudio.workers.live_workers import LiveWorker, live_workers, missing_worker
from slmstudio.workers.queues import (
    FailedJob,
    JobNotFound,
    discard_job,
    failed_job,
    failed_jobs,
    project_of,
    queue_states,
    requeue_job,
    runs_of,
    runs_of_failed,
)


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
        return self.all or (project is not None and may(self.roles.get(project.pk, ""), Action.RUN))


@require_safe
def workers(request: SignedInRequest) -> HttpResponse:
    """The page, and the part of it that refreshes itself."""
    viewer = WorkersPageAccess.of(request.user)
    part = request.GET.get("part") == "live"
    if not part:
        reap_lost_runs()  # the page shows runs as they are, even if no timer runs the reaper
    context: dict[str, Any] = {"queues": []}
    try:
        alive = live_workers()
        context["queues"] = queue_states(name for worker in alive for name in worker.queues)
        context["workers"] = _worker_rows(alive, viewer)
        context["failed"] = _failed_rows(failed_jobs(), viewer)
    except RedisError as error:
        context["problem"] = f"The job queue is not reachable ({type(error).__name__}). Jobs stay queued until it is."
    context["warnings"] = [
        missing_worker(queue["name"], queue["waiting"]) for queue in context["queues"] if not queue["workers"]
    ]
    context["failed_total"] = sum(queue["failed"] for queue in context["queues"])
    return render(request, "workers.html#live" if part else "workers.html", context)


def _worker_rows(workers: list[LiveWorker], viewer: WorkersPageAccess) -> list[dict[str, Any]]:
    runs = runs_of(job for worker in workers for job in worker.job_ids)
    now = timezone.now()
    return [
        {
            "worker": worker,
            "age": max(1, round((now - worker.beat).total_seconds())),
            "job": _visible(runs.get(worker.job_ids[0]), viewer, "a job") if worker.job_ids else None,
        }
        for worker in workers
    ]


def _failed_rows(jobs: list[FailedJob], viewer: WorkersPageAccess) -> list[dict[str, Any]]:
    runs = runs_of_failed(jobs)
    return [
        {
            "job": job,
            "run": _visible(run := runs.get(job.id), viewer, job.function or "a job"),
            "error": job.error if viewer.can_view(run) else "Only members of the project can see the error.",
            "can_requeue": viewer.can_requeue(run),
        }
        for job in jobs
    ]


def _visible(run: BackgroundRun | None, viewer: WorkersPageAccess, name: str) -> dict[str, Any]:
    """What a user may see of a run: its words, address, progress and step. ``name``: of a job without a run."""
    if run is None:
        return {"words": name}
    kind = str(run._meta.verbose_name)
    if not viewer.can_view(run):
        return {"words": f"{kind} of another project"}
    project = project_of(run)
    url = ""
    # Staff see what runs, but pages of a project are for its members.
    if project is not None and project.pk in viewer.roles and hasattr(run, "get_absolute_url"):
        with suppress(NoReverseMatch):
            url = run.get_absolute_url()
    return {
        "words": f"{kind}: {run}" + (f" ({project})" if project is not None else ""),
        "url": url,
        "percent": run.percent if run.is_live and run.progress_total else None,
        "stage": run.stage,
    }


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
            return HttpResponse("do must be requeue or remove", status=400, content_type="text/plain; charset=utf-8")
    except JobNotFound:
        messages.info(request, "The job is no longer in the failed list.")
    except Refused as error:
        messages.error(request, str(error))
    except RedisError as error:
        messages.error(request, f"The job queue is not reachable ({type(error).__name__}). Nothing was changed.")
    return back
