"""The page of a deployment: what answers, trying it, calling it, changing it."""

from collections.abc import Callable
from typing import Any

import httpx
from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.form.codec import pretty
from serving.deployments import gateway_client, queries, services
from serving.deployments.forms import DeployForm, EndpointForm, ReasonForm, TryForm
from serving.deployments.snippets import snippets
from serving.models import Deployment, Stage
from slmstudio.access import Action, project_for
from slmstudio.accounts.step_up import step_up
from slmstudio.contract.assembly import value_at
from slmstudio.contract.json_text import loads
from slmstudio.errors import Refused
from slmstudio.web.body_limits import AROUND_FILES, takes_files
from slmstudio.web.requests import SignedInRequest, is_htmx, redirect_to

_TEMPLATE = "serving/deployments/deployment.html"
_MAX_FILE = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) + AROUND_FILES


@require_safe
def deployment(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page; what serves, the newest requests and the history refresh themselves."""
    project = project_for(request.user, slug, Action.READ)
    part = request.GET.get("part", "") if is_htmx(request) else ""
    if part == "status":
        return render(request, f"{_TEMPLATE}#status", _status(project))
    if part == "activity":
        return render(request, f"{_TEMPLATE}#activity", {"project": project, **_activity(project)})
    context = _page(project)
    context |= {
        "snippets": snippets(slug),
        "try_form": TryForm(initial={"text": queries.sample_text(project)}),
        "deploy_form": _deploy_form(request, project, context["deployment"]),
        "endpoint_form": _endpoint_form(project, context["deployment"]),
        "offers_endpoint": Action.RUN in project.can and not (context["stable"] or context["candidate"]),
        "show": request.GET.get("show", ""),
    }
    return render(request, _TEMPLATE, context)


def _page(project: Any) -> dict[str, Any]:
    return {**_status(project), **_activity(project), "was_used": queries.was_used(project)}


def _activity(project: Any) -> dict[str, Any]:
    return {
        "events": queries.events(project),
        "rollback": queries.rollback_time(project),
        "requests": queries.requests(project),
    }


def _status(project: Any) -> dict[str, Any]:
    deployment = queries.find(project)
    stable = queries.status_of(deployment, deployment.stable) if deployment else None
    candidate = queries.status_of(deployment, deployment.candidate) if deployment else None
    # At all traffic a candidate becomes the stable version at once, maybe before its rollout is loaded.
    settling = (deployment is not None and candidate is not None and deployment.stage == Stage.FULL) or any(
        status is not None and status.state[0] in ("queued", "running") for status in (stable, candidate)
    )
    share = deployment.share if deployment is not None and deployment.stage and candidate else 1.0
    steps = [step for step in services.STEPS if step > share]
    return {
        "project": project,
        "deployment": deployment,
        "withdrawn": queries.withdrawn(deployment) if deployment else [],
        "stable": stable,
        "candidate": candidate,
        "settling": settling,
        "steps": [(int(100 * step), step) for step in steps],
        "previous": services.previous_stable(deployment) if deployment and deployment.stable_id else None,
        "evidence": queries.evidence_sentence(deployment) if deployment and candidate else "",
        "split": queries.running_split(project) if candidate else None,
        "reason_form": ReasonForm(),
    }


def _deploy_form(request: SignedInRequest, project: Any, deployment: Deployment | None) -> DeployForm | None:
    if Action.DEPLOY not in project.can:
        return None
    first = deployment is None or deployment.stable_id is None
    initial = {"stage": Stage.FULL if first else Stage.SHADOW, "report": request.GET.get("report", "")}
    initial["engine"] = request.GET.get("engine", "")
    return DeployForm(project=project, initial=initial)


def _endpoint_form(project: Any, deployment: Deployment | None) -> EndpointForm | None:
    """For users who may deploy, where nothing is deployed and the project has an external model."""
    if Action.DEPLOY not in project.can or (deployment is not None and deployment.serving):
        return None
    form = EndpointForm(project=project)
    return form if form.has_choices else None


@require_http_methods(["GET", "HEAD", "POST"])
@step_up
def deploy(request: SignedInRequest, slug: str) -> HttpResponse:
    """Deploys an approved report."""
    project = project_for(request.user, slug, Action.DEPLOY)
    if request.method != "POST":
        return redirect_to(request, f"{reverse('deployment', args=[slug])}?{request.GET.urlencode()}#deploy")
    form = DeployForm(request.POST, project=project)
    if form.is_accepted(lambda: services.deploy(project=project, user=request.user, **form.options())):
        return redirect_to(request, reverse("deployment", args=[slug]))
    part = "#deploy_form" if is_htmx(request) else ""
    context = {**_page(project), "deploy_form": form, "snippets": snippets(slug), "try_form": TryForm()}
    return render(request, f"{_TEMPLATE}{part}", context, status=422)


@require_POST
def deploy_endpoint(request: SignedInRequest, slug: str) -> HttpResponse:
    """Makes an external model the first stable version."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = EndpointForm(request.POST, project=project)
    if form.is_accepted(lambda: services.deploy_endpoint(project=project, user=request.user, **form.cleaned_data)):
        name = "captures" if form.cleaned_data["capture"] else "deployment"
        return redirect_to(request, reverse(name, args=[slug]))
    part = "#endpoint_form" if is_htmx(request) else ""
    context = {**_page(project), "endpoint_form": form, "snippets": snippets(slug), "try_form": TryForm()}
    return render(request, f"{_TEMPLATE}{part}", context, status=422)


@require_POST
@step_up
def promote(request: SignedInRequest, slug: str) -> HttpResponse:
    """Moves the candidate to a larger share, or to all traffic."""
    share = next((step for step in services.STEPS if str(int(100 * step)) == request.POST.get("share")), None)
    return _change(request, slug, services.promote, share=share)


@require_POST
def abort(request: SignedInRequest, slug: str) -> HttpResponse:
    """Takes the candidate out."""
    reason = request.POST.get("reason", "")[:1_000]
    return _change(request, slug, services.abort, reason=reason)


@require_POST
def roll_back(request: SignedInRequest, slug: str) -> HttpResponse:
    """Back to the release before."""
    reason = request.POST.get("reason", "")[:1_000]
    return _change(request, slug, services.roll_back, reason=reason)


@require_POST
def stop(request: SignedInRequest, slug: str) -> HttpResponse:
    """Nothing answers any more."""
    reason = request.POST.get("reason", "")[:1_000]
    return _change(request, slug, services.stop, reason=reason)


def _change(request: SignedInRequest, slug: str, change: Callable[..., Any], **values: Any) -> HttpResponse:
    project = project_for(request.user, slug, Action.DEPLOY)
    deployment = queries.find(project)
    refused = "Nothing is deployed."
    if deployment is not None:
        try:
            change(deployment=deployment, user=request.user, **values)
        except Refused as error:
            refused = error.message
        else:
            return redirect_to(request, reverse("deployment", args=[slug]))
    context = {**_page(project), "refused": refused, "deploy_form": _deploy_form(request, project, deployment)}
    context |= {"snippets": snippets(slug), "try_form": TryForm(initial={"text": queries.sample_text(project)})}
    part = "#status" if is_htmx(request) else ""
    return render(request, f"{_TEMPLATE}{part}", context, status=422)


def _may_try(request: SignedInRequest, slug: str) -> None:
    project_for(request.user, slug, Action.DEPLOY)


@takes_files(_MAX_FILE, "django.core.files.uploadhandler.TemporaryFileUploadHandler", check=_may_try)
@require_POST
def try_document(request: SignedInRequest, slug: str) -> HttpResponse:
    """Sends a document to the gateway, as a caller would, and shows its answer."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = TryForm(request.POST, request.FILES)
    context: dict[str, Any] = {"project": project, "try_form": form}
    status = 422
    if form.is_valid():
        try:
            file = form.cleaned_data["file"]
            response = gateway_client.send(
                slug=slug,
                text=form.cleaned_data["text"],
                file=(file.name, file.file) if file else None,
                layout=form.cleaned_data["layout"],
                caller=request.user.get_username(),
            )
        except httpx.HTTPError:
            form.add_error(None, "The gateway does not respond. Start it with: python -m serving.gateway")
        else:
            answer = loads(response.text)
            if response.status_code == 200:
                context["answer"], status = answer, 200
                context["output"] = pretty(answer["output"])
                name = answer.get("unwrapped")
                output = {name: answer["output"]} if name else answer["output"]
                context["absent"] = [path for path in answer["confidence"] if value_at(output, path) in (None, [])]
            else:
                form.add_error("file" if file else None, str(answer.get("detail", "The gateway rejected the request.")))
    return render(request, f"{_TEMPLATE}#try_form", context, status=status)
