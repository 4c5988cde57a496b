"""Cancelling and resuming runs: one service, and the views that all kinds of runs share.

A URL names the kind of run, and the service where its kind has one of its own.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.text import capfirst
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRefresh

from slmstudio.access import object_for, require
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun
from slmstudio.web.requests import is_htmx


def cancel(*, run: Any, user: User | None) -> bool:
    """Cancels a queued run at once and asks a running one to stop. False if it had ended before."""
    require(run.project, user, run.required_action)
    cancelled: bool = run.cancel()
    return cancelled


@require_POST
def cancel_run(
    request: HttpRequest,
    slug: str,
    *,
    kind: type[BackgroundRun],
    service: Callable[..., object] = cancel,
    **lookup: int,
) -> HttpResponse:
    """Cancels a run of a project; what it stored stays."""
    _, run = object_for(request.user, slug, kind.required_action, kind, **lookup)
    if not service(run=run, user=request.user):
        messages.info(request, f"{capfirst(str(run))} has already ended.")
    return _page(request, run)


@require_POST
def resume_run(
    request: HttpRequest, slug: str, *, kind: type[BackgroundRun], service: Callable[..., object], **lookup: int
) -> HttpResponse:
    """Queues the rest of a run that failed or was cancelled."""
    _, run = object_for(request.user, slug, kind.required_action, kind, **lookup)
    try:
        service(run=run, user=request.user)
    except Refused as refusal:
        messages.error(request, refusal.message)
    return _page(request, run)


def _page(request: HttpRequest, run: Any) -> HttpResponse:
    return HttpResponseClientRefresh() if is_htmx(request) else redirect(run.get_absolute_url())
