"""The page of captured traffic."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from serving.captures import keys, queries, services
from serving.captures.forms import CollectForm, KeyForm, OptionsForm
from serving.deployments import queries as deployment_queries
from serving.deployments import services as deployment_services
from serving.deployments.snippets import capture_url
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, redirect_to

_TEMPLATE = "serving/captures/captures.html"


@require_safe
def captures(request: SignedInRequest, slug: str) -> HttpResponse:
    """The address for callers, what came in, what can be made of it."""
    return render(request, _TEMPLATE, _context(project_for(request.user, slug, Action.READ)))


def _context(project: Any, **more: Any) -> dict[str, Any]:
    deployment = deployment_queries.find(project)
    options = {"capture": deployment.capture, "sticky": deployment.sticky} if deployment is not None else None
    return {
        "project": project,
        "deployment": deployment,
        "url": capture_url(project.slug),
        "traffic": queries.traffic(project, timezone.now()),
        "instructions": queries.instructions(project),
        "keys": queries.all_keys(project).in_use(),
        "key_form": KeyForm(),
        "collect_form": CollectForm(),
        "options_form": OptionsForm(initial=options) if options is not None else None,
        **more,
    }


@require_POST
def collect(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores captured documents."""
    project = project_for(request.user, slug, Action.CURATE)
    form = CollectForm(request.POST)
    if form.is_valid():
        try:
            collected = services.collect(project=project, user=request.user, **form.values())
        except Refused as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
        else:
            return render(request, _TEMPLATE, _context(project, collected=collected, collect_form=form))
    return render(request, _TEMPLATE, _context(project, collect_form=form), status=422)


@require_POST
def options(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores the options."""
    project = project_for(request.user, slug, Action.DEPLOY)
    deployment = deployment_queries.find(project)
    form = OptionsForm(request.POST)
    if deployment is not None and form.is_valid():
        try:
            deployment_services.set_options(deployment=deployment, user=request.user, **form.cleaned_data)
        except Refused as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
        else:
            return redirect_to(request, reverse("captures", args=[slug]))
    return render(request, _TEMPLATE, _context(project, options_form=form), status=422)


@require_POST
def register_key(request: SignedInRequest, slug: str) -> HttpResponse:
    """Registers a key that a caller has today."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = KeyForm(request.POST)
    if form.is_valid():
        try:
            keys.register(project=project, user=request.user, key=form.cleaned_data["key"])
        except Refused as error:
            form.add_error("key", error.message)
        else:
            return redirect_to(request, f"{reverse('captures', args=[slug])}#keys")
    return render(request, _TEMPLATE, _context(project, key_form=form), status=422)


@require_POST
def remove_key(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes a registered key."""
    project = project_for(request.user, slug, Action.DEPLOY)
    keys.remove(row=get_object_or_404(queries.all_keys(project), pk=pk), user=request.user)
    return redirect_to(request, f"{reverse('captures', args=[slug])}#keys")


@require_POST
def instruction(request: SignedInRequest, slug: str) -> HttpResponse:
    """Makes a system prompt the instruction of the contract."""
    project = project_for(request.user, slug, Action.CONTRACT)
    try:
        services.use_instruction(project=project, user=request.user, instruction=request.POST.get("instruction", ""))
    except Refused as error:
        return render(request, _TEMPLATE, _context(project, refused=error.message), status=422)
    return redirect_to(request, reverse("contract", args=[slug]))
