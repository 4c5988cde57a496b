"""The page of captured traffic."""

from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from serving.captures import queries, services
from serving.captures.services import MAX_DOCUMENTS
from serving.deployments import queries as deployment_queries
from serving.deployments import services as deployment_services
from serving.deployments.snippets import capture_url
from serving.models import Capture
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.forms import BootstrapForm
from slmstudio.web.requests import SignedInRequest, redirect_to


class CollectForm(BootstrapForm):
    """Which documents to store."""

    share = forms.FloatField(
        label="Share of the documents (%)",
        min_value=0.01,
        max_value=100,
        initial=100,
        help_text="Documents are selected by hash, so a larger share includes all documents of a smaller one.",
    )
    limit = forms.IntegerField(
        label="Maximum documents",
        min_value=1,
        max_value=MAX_DOCUMENTS,
        initial=500,
        help_text="Newest first. Collect again for more.",
    )

    def values(self) -> dict[str, Any]:
        """What ``captures.services.collect`` takes."""
        return {"share": self.cleaned_data["share"] / 100, "limit": self.cleaned_data["limit"]}


class OptionsForm(BootstrapForm):
    """Who may send requests that are forwarded, and whether a client always gets the same version."""

    capture = forms.ChoiceField(
        label="Forward requests unchanged",
        required=False,
        choices=[
            ("", "No"),
            (Capture.TOKEN, "With a token for this project"),
            (Capture.OWN_KEY, "With a token, or with a registered key for the external model"),
        ],
        help_text="Only keys that are registered on this page are forwarded.",
    )
    sticky = forms.BooleanField(
        label="Always send a client to the same version",
        required=False,
        help_text="Applies to canaries. Evidence then counts clients instead of requests, which takes much longer.",
    )


class KeyForm(BootstrapForm):
    """A key of the external model that a caller has today."""

    key = forms.CharField(
        label="API key for the external model",
        help_text="Only its hash and its first and last four characters are stored.",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )


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
    form, collected = CollectForm(request.POST), list[services.Collected]()
    is_accepted = form.is_accepted(
        lambda: collected.append(services.collect(project=project, user=request.user, **form.values()))
    )
    context = _context(project, collected=next(iter(collected), None), collect_form=form)
    return render(request, _TEMPLATE, context, status=200 if is_accepted else 422)


@require_POST
def options(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores the options."""
    project = project_for(request.user, slug, Action.DEPLOY)
    deployment = deployment_queries.find(project)
    form = OptionsForm(request.POST)
    if deployment is not None and form.is_accepted(
        lambda: deployment_services.set_options(deployment=deployment, user=request.user, **form.cleaned_data)
    ):
        return redirect_to(request, reverse("captures", args=[slug]))
    return render(request, _TEMPLATE, _context(project, options_form=form), status=422)


@require_POST
def register_key(request: SignedInRequest, slug: str) -> HttpResponse:
    """Registers a key that a caller has today."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = KeyForm(request.POST)
    if form.is_accepted(lambda: services.register_key(project=project, user=request.user, **form.cleaned_data)):
        return redirect_to(request, f"{reverse('captures', args=[slug])}#keys")
    return render(request, _TEMPLATE, _context(project, key_form=form), status=422)


@require_POST
def remove_key(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes a registered key."""
    project = project_for(request.user, slug, Action.DEPLOY)
    services.remove_key(row=get_object_or_404(queries.all_keys(project), pk=pk), user=request.user)
    return redirect_to(request, reverse("captures", args=[slug]))  # an address that only adds #keys would not reload


@require_POST
def instruction(request: SignedInRequest, slug: str) -> HttpResponse:
    """Makes a system prompt the instruction of the contract."""
    project = project_for(request.user, slug, Action.CONTRACT)
    try:
        services.use_instruction(project=project, user=request.user, instruction=request.POST.get("instruction", ""))
    except Refused as error:
        return render(request, _TEMPLATE, _context(project, refused=error.message), status=422)
    return redirect_to(request, reverse("contract", args=[slug]))
