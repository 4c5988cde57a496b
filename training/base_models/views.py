"""The page of base models: what there is, what each costs, having one prepared, making one known."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from labeling.models import Project
from slmstudio.accounts.permissions import may_download_models, permission_granter
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest
from training.base_models.downloads import may_see_models, pull
from training.base_models.forms import FolderForm, HubForm
from training.base_models.services import add_hub_model, register_folder, sync_catalogue
from training.base_models.table import lines
from training.estimates.estimate import TYPICAL_TOKENS
from training.estimates.machines import gpu_hardware
from training.estimates.services import latency_limit, memory_limit
from training.models import BaseModel, ModelPull
from training.runs import queries as run_queries


def _check(request: SignedInRequest) -> None:
    if not may_see_models(request.user):
        raise PermissionDenied("Base models are shown to engineers and owners of a project.")


def _check_fetching(request: SignedInRequest) -> None:
    """Looking is for engineers; what fills the disk of everybody takes a permission of the account."""
    _check(request)
    if not may_download_models(request.user):
        raise PermissionDenied(f"Your account may not have models fetched; {permission_granter()} can allow it.")


def _draw(request: SignedInRequest, status: int = 200, **forms: Any) -> HttpResponse:
    mine = Project.objects.filter(memberships__user=request.user.pk).select_related("contract").order_by("name")
    asked = (request.GET.get("project") or request.POST.get("project") or "").replace("\0", "")
    chosen = next((one for one in mine if one.slug == asked), None)
    tokens = _tokens(request.GET.get("tokens") or request.POST.get("tokens") or "")
    limit = memory_limit(chosen)
    hardware = gpu_hardware()
    latency = latency_limit(chosen)
    rows = lines(limit_bytes=limit, tokens=tokens, hardware=hardware, latency=latency)
    live = any(row.pull is not None and row.pull.is_live for row in rows)
    context = {
        "rows": rows,
        "live": live,
        "nobody": run_queries.nobody_works(ModelPull.queue_name) if live else "",
        "projects": mine,
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
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    part = bool(htmx) and not htmx.history_restore_request and not forms
    return render(
        request,
        "training/base_models/list.html#table" if part else "training/base_models/list.html",
        context,
        status=status,
    )


def _shown(request: SignedInRequest) -> str:
    """The page for the project and the length of a row that the table was drawn for."""
    asked = {name: request.POST[name] for name in ("project", "tokens") if request.POST.get(name)}
    return reverse("base_models") + (f"?{urlencode(asked)}" if asked else "")


def _tokens(text: str) -> int:
    """Tokens of a typical row that the table is worked out for, from the address."""
    return min(131_072, max(16, int(text))) if text.isdecimal() and len(text) < 7 else TYPICAL_TOKENS


@require_safe
def models(request: SignedInRequest) -> HttpResponse:
    """Every base model with its memory; ``?project=`` takes its hardware, ``?tokens=`` the length of a row."""
    _check(request)
    sync_catalogue()
    return _draw(request)


@require_POST
def prepare(request: SignedInRequest, model: str) -> HttpResponse:
    """Has a base model prepared in the background."""
    _check(request)
    try:
        pull(base_model=get_object_or_404(BaseModel, slug=model), user=request.user)
    except Refused as refusal:
        raise PermissionDenied(refusal.message) from None
    return _draw(request) if request.htmx else redirect(_shown(request))  # type: ignore[attr-defined]


@require_POST
def stop(request: SignedInRequest, model: str) -> HttpResponse:
    """Stops a preparation that waits or runs."""
    _check(request)
    found = get_object_or_404(BaseModel.objects.select_related("pull"), slug=model, pull__isnull=False)
    found.pull.cancel()
    return _draw(request) if request.htmx else redirect(_shown(request))  # type: ignore[attr-defined]


@require_POST
def add(request: SignedInRequest) -> HttpResponse:
    """Makes a model of the hub or of a folder known, and has it prepared."""
    _check_fetching(request)
    from_folder = request.POST.get("kind") == "folder"
    form: Any = FolderForm(request.POST) if from_folder else HubForm(request.POST)
    if form.is_valid():
        try:
            model = register_folder(**form.cleaned_data) if from_folder else add_hub_model(**form.cleaned_data)
        except Refused as refusal:
            form.refuse(refusal.errors)
        else:
            pull(base_model=model, user=request.user)
            return redirect("base_models")
    return _draw(request, 422, **{"folder_form" if from_folder else "hub_form": form})
