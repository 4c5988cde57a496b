"""The download of an evidence bundle."""

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_safe

from evaluation.bundles.archive import bundle_name, checked_files, zipped
from evaluation.bundles.contents import bundle_hash
from evaluation.bundles.verification import LIST
from evaluation.models import GateReport
from slmstudio.access import Action, project_for
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest


def _report_of(request: SignedInRequest, slug: str, number: int) -> GateReport:
    project = project_for(request.user, slug, Action.READ)
    report: GateReport = get_object_or_404(project.gate_reports.with_content(), number=number)
    report.project = project
    return report


@require_safe
def bundle(request: SignedInRequest, slug: str, number: int) -> HttpResponseBase:
    """The bundle of a report as a zip file; back to the report where it cannot be made."""
    report = _report_of(request, slug, number)
    with RefusalMessage(request):
        return bundle_response(report)
    return redirect(report.get_absolute_url())


@require_safe
def bundle_sha256(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The hash of the bundle, which the page of a report asks for where it is not known yet."""
    report = _report_of(request, slug, number)
    return render(request, "evaluation/bundles/sha256.html", {"sha256": bundle_hash(report)})


def bundle_response(report: GateReport) -> StreamingHttpResponse:
    """The zip file as a streamed response; its header has the hash by which the bundle is recognized.

    Raises:
        Refused: as ``checked_files``.
    """
    files = checked_files(report)
    response = StreamingHttpResponse(zipped(files), content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{bundle_name(report)}.zip"'
    response["Bundle-SHA256"] = next(file.sha256 for file in files if file.path == LIST)
    return response
