"""Packages over REST, with the rules of the page."""

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from evaluation.models import GateReport
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import field_problem
from labeling.api.schemas import In, Number, Out, Text, Whole
from labeling.api.wire import answer
from serving.models import Package, Variant
from serving.packages import queries, services
from slmstudio.errors import Refused

router = Router(tags=["packages"])


class BuildIn(In):
    """What to build."""

    report: Annotated[Whole, Field(ge=1, lt=2**31, description="number of a gate report of the evaluation")]
    variants: Annotated[
        list[Text],
        Field(min_length=1, max_length=20, description="engines, or keys of variants such as llama_cpp-q8_0"),
    ]


class VariantOut(Out):
    """An engine with the file that it loads, and its parity with the evaluation on the documents of the check."""

    key: str
    engine: str
    quantization: str = Field(description="quantization of the GGUF file; empty for weights")
    error: str = Field(description="why it cannot be deployed")
    outputs_equal: int | None
    documents: int | None
    field_accuracy: Number | None
    difference: Number | None = Field(description="difference from the field accuracy of the evaluation")
    difference_low: Number | None = Field(description="95% interval")
    difference_high: Number | None


class PackageOut(Out):
    """A package."""

    package: int
    evaluation: int
    model: str
    status: str
    error: str
    sha256: str
    size: int
    signed: bool
    deleted: bool = Field(description="when its files were deleted because nothing needed them")
    versions: list[int]
    variants: list[VariantOut]


class PackagesOut(Out):
    """The packages of a project, newest first."""

    packages: list[PackageOut]


@router.get("", summary="List packages", operation_id="packages", **operation("deploy", PackagesOut))
def packages(request: HttpRequest, slug: Slug) -> HttpResponse:
    """Every package with its engines and their parity."""
    rows = [row for group in queries.of_project(project_of(request)) for row in group.packages]
    rows.sort(key=lambda row: -row.package.number)
    return answer({"packages": [_out(row.package, [release.number for release in row.releases]) for row in rows]})


@router.post("", summary="Create a package", operation_id="build_package", **operation("deploy", PackageOut, 400, 409))
def build(request: HttpRequest, slug: Slug, body: BuildIn) -> HttpResponse:
    """Builds another package of the evaluation of a gate report. Poll until its ``status`` is done.

    Versions keep their package until they are deployed again.
    """
    project = project_of(request)
    report = GateReport.objects.filter(project=project, number=body.report).first()
    if report is None:
        raise field_problem("report", f"There is no gate report {body.report}.")
    user: Any = caller(request).user
    try:
        package = services.build_again(run=report.eval_run, user=user, variants=body.variants)
    except Refused as refusal:
        status = 409 if refusal.code == "busy" else 422
        raise field_problem("" if status == 409 else refusal.field, refusal.message, status) from refusal
    return answer(_out(Package.objects.with_content().get(pk=package.pk), []))


def _out(package: Package, versions: list[int]) -> dict[str, Any]:
    return {
        "package": package.number,
        "evaluation": package.eval_run.number,
        "model": package.eval_run.model_label,
        "status": package.status,
        "error": package.error,
        "sha256": package.sha256,
        "size": package.size,
        "signed": package.is_signed,
        "deleted": package.deleted_at is not None,
        "versions": versions,
        "variants": [_variant(variant) for variant in package.all_variants],
    }


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "key": variant.key,
        "engine": variant.engine,
        "quantization": variant.kind,
        "error": variant.problem,
        "outputs_equal": variant.parity.get("equal"),
        "documents": variant.parity.get("documents"),
        "field_accuracy": variant.parity.get("accuracy"),
        "difference": variant.difference,
        "difference_low": variant.parity.get("difference_low"),
        "difference_high": variant.parity.get("difference_high"),
    }
