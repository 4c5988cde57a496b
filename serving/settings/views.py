"""The settings of a deployment, and the limits of a token."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.integrations.tokens import active_tokens
from labeling.models import ApiToken, Project
from serving.budgets import usage
from serving.confidence import policy as policies
from serving.confidence.status import DAYS, status_of
from serving.deployments import queries as deployment_queries
from serving.models import Deployment, SamplePlan
from serving.monitoring import alerts
from serving.settings import services
from serving.settings.forms import LimitsForm, PolicyForm, RecipientsForm, SampleForm
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.forms import BootstrapForm
from slmstudio.web.requests import SignedInRequest, redirect_to

#: form on the page -> the message once it is saved
_SAVED = {
    "policy_form": "The answer policy was saved.",
    "sample_form": "Review sample and storage were saved.",
    "recipients_form": "The addresses for alerts were saved.",
}


@require_safe
def settings(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page."""
    return _page(request, project_for(request.user, slug, Action.READ))


def _page(request: SignedInRequest, project: Project, *, status: int = 200, **forms: Any) -> HttpResponse:
    deployment = deployment_queries.find(project)
    context: dict[str, Any] = {
        "project": project,
        "deployment": deployment,
        "status": status_of(project),
        "days": DAYS,
        "use": usage.use_of(project, None),
        "recipients_form": _recipients_form(project),
        "mail_problem": alerts.mail_problem(),
    }
    if deployment is not None:
        context |= {"policy_form": _policy_form(deployment), "sample_form": _sample_form(deployment)}
        context["sample_share"] = SamplePlan.for_deployment(deployment).share
    return render(request, "serving/settings/settings.html", context | forms, status=status)


def _policy_form(deployment: Deployment, data: Any = None) -> PolicyForm:
    return PolicyForm(data, project=deployment.project, policy=policies.policy_of(deployment))


def _sample_form(deployment: Deployment, data: Any = None) -> SampleForm:
    plan = SamplePlan.for_deployment(deployment)
    return SampleForm(data, project=deployment.project, plan=plan, retention_days=deployment.retention_days)


def _recipients_form(project: Project, data: Any = None) -> RecipientsForm:
    return RecipientsForm(data, initial={"addresses": "\n".join(alerts.recipients_of(project))})


def _saved(
    request: SignedInRequest, project: Project, name: str, form: BootstrapForm, change: Callable[[], object]
) -> HttpResponse:
    """The page again after a form was sent: with its errors, or saved. ``name``: of the form on the page."""
    if form.is_accepted(change):
        messages.success(request, _SAVED[name])
        return redirect_to(request, reverse("deploy_settings", args=[project.slug]))
    return _page(request, project, status=422, **{name: form})


def _deployment(request: SignedInRequest, slug: str) -> tuple[Project, Deployment]:
    project: Project = project_for(request.user, slug, Action.DEPLOY)
    deployment = deployment_queries.find(project)
    if deployment is None:
        raise Http404("Nothing is deployed.")
    return project, deployment


@require_POST
def policy(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores the answer policy."""
    project, deployment = _deployment(request, slug)
    form = _policy_form(deployment, request.POST)
    change = lambda: policies.set_policy(deployment=deployment, user=request.user, **form.values())  # noqa: E731
    return _saved(request, project, "policy_form", form, change)


@require_POST
def sample(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores the review sample."""
    project, deployment = _deployment(request, slug)
    form = _sample_form(deployment, request.POST)
    change = lambda: services.set_sample(deployment=deployment, user=request.user, **form.values())  # noqa: E731
    return _saved(request, project, "sample_form", form, change)


@require_POST
def recipients(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores who gets mail about alerts."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = _recipients_form(project, request.POST)

    def change() -> None:
        lines = form.cleaned_data["addresses"].replace(",", "\n").splitlines()
        alerts.set_recipients(project=project, user=request.user, addresses=lines)

    return _saved(request, project, "recipients_form", form, change)


@require_POST
def resume(request: SignedInRequest, slug: str) -> HttpResponse:
    """Answers automatically again after the budget was exceeded."""
    project, deployment = _deployment(request, slug)
    try:
        policies.resume(deployment=deployment, user=request.user, reason=request.POST.get("reason", "")[:1_000])
    except Refused as error:
        return _page(request, project, refused=error.message, status=422)
    messages.success(request, "Automatic answers were resumed.")
    return redirect_to(request, reverse("deploy_settings", args=[slug]))


@require_http_methods(["GET", "HEAD", "POST"])
def limits(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The use of a token by day, and its limits; ``pk`` 0: of the project. Owners set them."""
    action = Action.ADMINISTER if request.method == "POST" else Action.READ
    project = project_for(request.user, slug, action)
    token = _token(request, project, pk)
    use = usage.use_of(project, token)
    form = LimitsForm(request.POST if request.method == "POST" else None, limits=use.limits)
    if form.is_accepted(
        lambda: services.set_limits(project=project, user=request.user, token=token, **form.cleaned_data)
    ):
        messages.success(request, "The limits were saved.")
        return redirect_to(request, reverse("budget", args=[slug, pk]))
    context = {
        "project": project, "token": token, "use": use, "form": form, "pk": pk,
        "days": usage.days(project, token), "resets_on": usage.resets_on(timezone.now().date()),
    }  # fmt: skip
    return render(request, "serving/settings/limits.html", context, status=422 if form.errors else 200)


def _token(request: SignedInRequest, project: Project, pk: int) -> ApiToken | None:
    if pk == 0:
        return None
    user = None if usage.sees_all_tokens(project) else request.user
    token: ApiToken | None = active_tokens(project, user).filter(pk=pk).first()
    if token is None:
        raise Http404("No such token.")
    return token
