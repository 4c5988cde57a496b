"""The pages of comparisons: all of a project, and each with what it shows."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from serving.comparisons import queries, services
from serving.comparisons.forms import LabelsForm, ReplayForm, SplitForm
from serving.comparisons.labels import needed_documents
from serving.comparisons.queries import ComparisonStatus
from serving.deployments import gate_certificates
from serving.deployments import queries as deployment_queries
from serving.models import Stage, TrafficComparison
from slmstudio.access import Action, project_for
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.web.markdown import render_markdown
from slmstudio.web.requests import SignedInRequest, redirect_to

_LIST, _PAGE = "serving/comparisons/comparisons.html", "serving/comparisons/comparison.html"
Kind = TrafficComparison.Kind
FORMS: dict[str, Any] = {Kind.SPLIT: SplitForm, Kind.SHADOW: LabelsForm, Kind.REPLAY: ReplayForm}


@require_safe
def comparisons(request: SignedInRequest, slug: str) -> HttpResponse:
    """All comparisons, and the forms of the next one."""
    project = project_for(request.user, slug, Action.READ)
    return render(request, _LIST, _context(project))


def _context(project: Any, kind: str = "", rejected: forms.Form | None = None) -> dict[str, Any]:
    """``rejected``: the form of a kind that was sent with errors."""
    deployment = deployment_queries.find(project)
    has_stable = deployment is not None and deployment.stable_id is not None
    in_shadow = has_stable and deployment is not None and deployment.stage == Stage.SHADOW
    offered = {
        Kind.SPLIT: has_stable and deployment_queries.running_split(project) is None,
        Kind.SHADOW: has_stable and deployment is not None and deployment.candidate_id is not None,
        Kind.REPLAY: in_shadow,
    }
    can_start = Action.DEPLOY in project.can
    forms_by_kind = {
        key: rejected if key == kind else FORMS[key](project=project)
        for key, is_offered in offered.items()
        if can_start and (is_offered or key == kind)
    }
    return {
        "project": project,
        "deployment": deployment,
        "comparisons": queries.comparisons(project),
        "from_reports": gate_certificates.of_project(project),
        "needed": needed_documents(deployment) if deployment is not None else None,
        "split_form": forms_by_kind.get(Kind.SPLIT),
        "labels_form": forms_by_kind.get(Kind.SHADOW),
        "replay_form": forms_by_kind.get(Kind.REPLAY),
        "rejected": kind,
    }


@require_POST
def comparison_new(request: SignedInRequest, slug: str, kind: str) -> HttpResponse:
    """Starts a comparison. That on labeled documents also draws its documents."""
    project = project_for(request.user, slug, Action.DEPLOY)
    if kind not in FORMS:
        raise Http404("No such kind.")
    form = FORMS[kind](request.POST, project=project)
    started: list[TrafficComparison] = []
    if form.is_accepted(lambda: started.append(_start(project, request.user, kind, form.values()))):
        return redirect_to(request, started[0].get_absolute_url())
    return render(request, _LIST, _context(project, kind, form), status=422)


def _start(project: Any, user: Any, kind: str, values: dict[str, Any]) -> TrafficComparison:
    if kind == Kind.SPLIT:
        return services.start_split(project=project, user=user, **values)
    deployment = deployment_queries.find(project)
    if deployment is None:
        raise Refused("Nothing is deployed.")
    if kind == Kind.REPLAY:
        return services.start_replay(deployment=deployment, user=user, **values)
    comparison = services.start_labels(deployment=deployment, user=user, **values)
    services.draw(comparison=comparison, user=user)
    return comparison


@require_safe
def comparison(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """A comparison with what it shows now."""
    return _page(request, _status(project_for(request.user, slug, Action.READ), number))


def _status(project: Any, number: int) -> ComparisonStatus:
    status = queries.find(project, number)
    if status is None:
        raise Http404("No such comparison.")
    return status


def _page(request: SignedInRequest, status: ComparisonStatus, *, refused: str = "", code: int = 200) -> HttpResponse:
    context = {
        "project": status.comparison.project,
        "comparison": status.comparison,
        "status": status,
        "panel": f"serving/comparisons/{status.comparison.kind}.html",
        "refused": refused,
    }
    return render(request, _PAGE, context, status=code)


@require_POST
def comparison_stop(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Ends a live split, where B is taken out or with ``keep=b`` answers everything, or cancels a replay."""
    return _change(request, slug, number, services.stop, keep_b=request.POST.get("keep") == "b")


@require_POST
def comparison_draw(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Draws the documents that are missing."""
    return _change(request, slug, number, services.draw)


@require_POST
def comparison_issue(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Issues the certificate."""
    return _change(request, slug, number, services.issue)


def _change(
    request: SignedInRequest, slug: str, number: int, change: Callable[..., Any], **values: Any
) -> HttpResponse:
    status = _status(project_for(request.user, slug, Action.DEPLOY), number)
    try:
        change(comparison=status.comparison, user=request.user, **values)
    except Refused as error:
        return _page(request, status, refused=error.message, code=422)
    return redirect_to(request, status.comparison.get_absolute_url())


@require_safe
def certificate(request: SignedInRequest, slug: str, number: int, ending: str) -> HttpResponse:
    """The certificate as JSON or Markdown; of labeled documents also before it is issued."""
    content = _status(project_for(request.user, slug, Action.READ), number).certificate
    if not content or ending not in ("json", "md"):
        raise Http404("No certificate.")
    if ending == "json":
        response = HttpResponse(dumps(content), content_type="application/json")
    else:
        text = render_markdown("serving/comparisons/certificate.md", {"content": content})
        response = HttpResponse(text, content_type="text/markdown; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{slug}-certificate-{number}.{ending}"'
    return response
