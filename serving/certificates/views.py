"""The pages of certificates."""

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from serving.certificates import queries, services
from serving.certificates.content import claim
from serving.certificates.forms import CertificateForm
from serving.deployments import gate_certificates
from serving.deployments import queries as deployment_queries
from serving.models import Certificate
from slmstudio.access import Action, project_for
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.text.formatting import e_value
from slmstudio.web.markdown import render_markdown
from slmstudio.web.requests import SignedInRequest, redirect_to

_LIST, _PAGE = "serving/certificates/certificates.html", "serving/certificates/certificate.html"


@require_safe
def certificates(request: SignedInRequest, slug: str) -> HttpResponse:
    """All certificates, and the plan of the next one."""
    project = project_for(request.user, slug, Action.READ)
    return render(request, _LIST, _context(project, CertificateForm(project=project)))


def _context(project: Any, form: CertificateForm) -> dict[str, Any]:
    found = deployment_queries.find(project)
    return {
        "project": project,
        "deployment": found,
        "certificates": queries.certificates(project),
        "from_reports": gate_certificates.of_project(project),
        "plan": queries.plan_of(found) if found else None,
        "form": form,
    }


@require_POST
def certificate_new(request: SignedInRequest, slug: str) -> HttpResponse:
    """Plans a certificate and draws its documents."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = CertificateForm(request.POST, project=project)
    found = deployment_queries.find(project)
    if form.is_valid():
        try:
            if found is None:
                raise Refused("Nothing is deployed.")
            made = services.plan(deployment=found, user=request.user, **form.values())
            services.draw(certificate=made, user=request.user)
        except Refused as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
        else:
            return redirect_to(request, made.get_absolute_url())
    return render(request, _LIST, _context(project, form), status=422)


@require_safe
def certificate(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One certificate with what its labels show now."""
    return _page(request, _find(project_for(request.user, slug, Action.READ), number))


def _page(request: SignedInRequest, found: Certificate, *, refused: str = "", status: int = 200) -> HttpResponse:
    shown = queries.status_of(found)
    result = shown.comparison.result
    context = {
        "project": found.project, "certificate": found, "status": shown, "refused": refused,
        "claim": claim(found), "e_value": e_value(result.log_e),
        "needed_e": e_value(result.needed_log_e), "export": queries.export(found, shown.comparison),
        "sides": [("Stable", shown.comparison.stable), ("Candidate", shown.comparison.candidate)],
        "difference": f"{100 * result.difference:+.1f}", "max_loss": f"{100 * result.bound.value:.1f}",
        "confidence": f"{100 * (1 - found.alpha):g}",
    }  # fmt: skip
    return render(request, _PAGE, context, status=status)


def _find(project: Any, number: int) -> Certificate:
    found = queries.find(project, number)
    if found is None:
        raise Http404("No such certificate.")
    return found


@require_POST
def certificate_draw(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Draws the documents that are missing."""
    return _change(request, slug, number, services.draw)


@require_POST
def certificate_issue(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Issues it."""
    return _change(request, slug, number, services.issue)


def _change(request: SignedInRequest, slug: str, number: int, change: Callable[..., Any]) -> HttpResponse:
    found = _find(project_for(request.user, slug, Action.DEPLOY), number)
    try:
        change(certificate=found, user=request.user)
    except Refused as error:
        return _page(request, found, refused=error.message, status=422)
    return redirect_to(request, found.get_absolute_url())


@require_safe
def certificate_json(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Its content as JSON."""
    found = _find(project_for(request.user, slug, Action.READ), number)
    return _file(found, dumps(queries.export(found)), "json", "application/json")


@require_safe
def certificate_markdown(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Its content as Markdown."""
    found = _find(project_for(request.user, slug, Action.READ), number)
    text = render_markdown("serving/certificates/certificate.md", {"found": queries.export(found)})
    return _file(found, text, "md", "text/markdown; charset=utf-8")


def _file(found: Certificate, text: str, ending: str, kind: str) -> HttpResponse:
    response = HttpResponse(text, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{found.project.slug}-certificate-{found.number}.{ending}"'
    return response
