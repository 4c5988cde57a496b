"""Pages that belong to no app: health, workers, errors."""

import django_rq
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from redis.exceptions import RedisError
from rq import Worker

from slmstudio.access import Action, may
from slmstudio.problems import problem
from slmstudio.sweep import sweep_lost


@login_not_required
def health(request: HttpRequest) -> HttpResponse:
    """200 where database and queue answer; 503 with what does not."""
    problems = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        problems["database"] = type(error).__name__
    try:
        django_rq.get_connection("default").ping()
    except RedisError as error:
        problems["queue"] = type(error).__name__
    return JsonResponse({"ok": not problems, **problems}, status=503 if problems else 200)


def workers(request: HttpRequest) -> HttpResponse:
    """The queues and who works them; for those who start runs."""
    roles = request.user.memberships.values_list("role", flat=True)  # type: ignore[union-attr]
    if not (request.user.is_superuser or any(may(role, Action.RUN) for role in roles)):
        raise PermissionDenied("Workers are shown to engineers and owners of a project.")
    sweep_lost()  # whoever looks at the workers sees their runs as they are, cron or no cron
    context: dict[str, object] = {"queues": [], "workers": [], "problem": ""}
    try:
        queues = [django_rq.get_queue(name) for name in settings.RQ_QUEUES]
        context["queues"] = [
            {"name": q.name, "waiting": q.count, "failed": q.failed_job_registry.count} for q in queues
        ]
        context["workers"] = [
            {
                "name": worker.name,
                "host": worker.hostname,
                "queues": ", ".join(worker.queue_names()),
                "state": worker.get_state(),
                "job": worker.get_current_job_id(),
                "beat": worker.last_heartbeat,
            }
            for worker in Worker.all(connection=queues[0].connection)
        ]
    except RedisError as error:
        context["problem"] = f"The queue does not answer ({type(error).__name__}). Jobs wait until it does."
    return render(request, "workers.html", context)


def _error(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem(status, f"{title}. {text}")
    return render(request, "error.html", {"title": title, "text": text, "status": status}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    return _error(request, 400, "That request cannot be understood", "Nothing was changed. Go back and try again.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, with the sentence of who may do it."""
    return _error(request, 403, "You may not do that", str(exception) or "Your role does not allow it.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404."""
    return _error(
        request, 404, "There is nothing here", "It was removed, or it belongs to a project you are not a member of."
    )
