"""The page of base models: memory and fit of each, preparation, and registration of new ones."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from slmstudio.accounts.global_permissions import may_download_models, permission_granter
from slmstudio.errors import Refused
from slmstudio.web.forms import FieldErrors, RefusalMessage
from slmstudio.web.requests import SignedInRequest, is_htmx
from slmstudio.workers.live_workers import no_worker_message
from training.base_models.downloads import can_view_models, cancel_download, no_permission_message, request_download
from training.base_models.forms import FolderForm, HubForm
from training.base_models.services import add_hub_model, register_folder, remove_base_model, sync_catalog
from training.base_models.table import model_rows, projects_of
from training.estimates.estimate import TYPICAL_TOKENS
from training.estimates.services import gpu_hardware, latency_limit, memory_limit
from training.models import BaseModel, ModelDownload


def _check_view_permission(request: SignedInRequest) -> None:
    if not can_view_models(request.user):
        raise PermissionDenied("Base models are visible to engineers and owners of a project.")


def _check_download_permission(request: SignedInRequest) -> None:
    """Engineers can view models; downloading needs a permission of the account."""
    _check_view_permission(request)
    if not may_download_models(request.user):
        raise PermissionDenied(no_permission_message())


def _render(request: SignedInRequest, status: int = 200, **forms: Any) -> HttpResponse:
    projects = projects_of(request.user)
    slug = (request.GET.get("project") or request.POST.get("project") or "").replace("\0", "")
    chosen = next((project for project in projects if project.slug == slug), None)
    tokens = _tokens(request.GET.get("tokens") or request.POST.get("tokens") or "")
    limit = memory_limit(chosen)
    hardware = gpu_hardware()
    latency = latency_limit(chosen)
    rows = model_rows(limit_bytes=limit, tokens=tokens, hardware=hardware, latency=latency)
    live = any(row["download"] is not None and row["download"].is_live for row in rows)
    context = {
        "groups": [
            (title, is_prepared, group)
            for title, is_prepared in (("Prepared", True), ("Not prepared", False))
            if (group := [row for row in rows if row["model"].is_prepared == is_prepared])
        ],
        "live": live,
        "no_worker": no_worker_message(ModelDownload.queue_name) if live else "",
        "projects": projects,
        "chosen": chosen,
        "tokens": tokens,
        "limit": limit,
        "latency": latency,
        "hardware": hardware,
        "may_fetch": may_download_models(request.user),
        "who_grants": permission_granter(),
        "folders": settings.MODEL_FOLDERS,
        "hub_form": HubForm(),
        "folder_form": FolderForm(),
        **forms,
    }
    part = is_htmx(request) and not forms
    return render(
        request,
        "training/base_models/list.html#table" if part else "training/base_models/list.html",
        context,
        status=status,
    )


def _page_url(request: SignedInRequest) -> str:
    """The address of the page with its project and document length."""
    query = {name: request.POST[name] for name in ("project", "tokens") if request.POST.get(name)}
    return reverse("base_models") + (f"?{urlencode(query)}" if query else "")


def _tokens(text: str) -> int:
    """Tokens of a typical document for the estimates, from the query string."""
    return min(131_072, max(16, int(text))) if text.isdecimal() and len(text) < 7 else TYPICAL_TOKENS


@require_safe
def models(request: SignedInRequest) -> HttpResponse:
    """Every base model with its memory, for the hardware of ``?project=`` and documents of ``?tokens=``."""
    _check_view_permission(request)
    sync_catalog()
    return _render(request)


@require_POST
def prepare(request: SignedInRequest, model: str) -> HttpResponse:
    """Queues the preparation of a base model."""
    _check_view_permission(request)
    try:
        request_download(base_model=get_object_or_404(BaseModel, slug=model), user=request.user)
    except Refused as refusal:
        raise PermissionDenied(refusal.message) from None
    return _render(request) if is_htmx(request) else redirect(_page_url(request))


@require_POST
def stop(request: SignedInRequest, model: str) -> HttpResponse:
    """Cancels a queued or running preparation."""
    _check_view_permission(request)
    cancel_download(get_object_or_404(BaseModel, slug=model))
    return _render(request) if is_htmx(request) else redirect(_page_url(request))


@require_POST
def add(request: SignedInRequest) -> HttpResponse:
    """Registers a model of the hub or of a folder, and queues its preparation."""
    _check_download_permission(request)
    from_folder = request.POST.get("kind") == "folder"
    form: Any = FolderForm(request.POST) if from_folder else HubForm(request.POST)
    if form.is_valid():
        with FieldErrors(form):
            model = register_folder(**form.cleaned_data) if from_folder else add_hub_model(**form.cleaned_data)
            request_download(base_model=model, user=request.user)
            return redirect("base_models")
    return _render(request, 422, **{"folder_form" if from_folder else "hub_form": form})


@require_POST
def remove(request: SignedInRequest, model: str) -> HttpResponse:
    """Removes a registered model that nothing uses."""
    _check_download_permission(request)
    with RefusalMessage(request):
        remove_base_model(base_model=get_object_or_404(BaseModel, slug=model))
    return redirect(_page_url(request))
