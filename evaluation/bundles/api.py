"""Evidence bundles over REST."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from ninja import Router

from evaluation.bundles.views import bundle_response
from evaluation.models import GateReport
from labeling.api.access import Slug, object_of
from labeling.api.operations import operation

router = Router(tags=["gates"])


@router.get(
    "/{int:number}",
    summary="Download the evidence bundle of a gate report",
    operation_id="evidence_bundle",
    **operation("read", None, 409, files=("application/zip",)),
)
def bundle(request: HttpRequest, slug: Slug, number: int) -> HttpResponseBase:
    """Gold labels, outputs, schema, gates, verdicts and hashes of the hold-out as a zip file, which
    `manage.py verify_bundle` verifies without a database. The header `Bundle-SHA256` is the hash that its option
    `--sha256` takes."""
    report = object_of(request, GateReport.objects.with_content(), number=number)
    return bundle_response(report)
