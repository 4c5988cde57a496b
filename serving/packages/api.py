"""Packages over REST, with the rules of the page."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from evaluation.models import GateReport
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import field_problem
from labeling.api.schemas import In, Number, Out, Text, Whole
from serving.models import Package
from serving.packages import services

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
    quantization: str = Field(description="quantization of the GGUF file; empty for weights", validation_alias="kind")
    error: str = Field(description="why it cannot be deployed", validation_alias="problem")
    outputs_equal: int | None = Field(None, validation_alias="parity.equal")
    documents: int | None = Field(None, validation_alias="parity.documents")
    field_accuracy: Number | None = Field(None, validation_alias="parity.accuracy")
    difference: Number | None = Field(description="difference from the field accuracy of the evaluation")
    difference_low: Number | None = Field(None, description="95% interval", validation_alias="parity.difference_low")
    difference_high: Number | None = Field(None, validation_alias="parity.difference_high")


class PackageOut(Out):
    """A package."""

    package: int = Field(validation_alias="number")
    evaluation: int = Field(validation_alias="eval_run.number")
    model: str = Field(validation_alias="eval_run.model_label")
    status: str
    error: str
    sha256: str
    size: int
    signed: bool = Field(validation_alias="is_signed")
    deleted: bool = Field(
        description="when its files were deleted because nothing needed them", validation_alias="is_deleted"
    )
    versions: list[int]
    variants: list[VariantOut] = Field(validation_alias="all_variants")

    @staticmethod
    def resolve_versions(package: Package) -> list[int]:
        """Those of the package."""
        return sorted(release.number for release in package.releases.all())


class PackagesOut(Out):
    """The packages of a project, newest first."""

    packages: list[PackageOut]


@router.get("", summary="List packages", operation_id="packages", **operation("deploy", PackagesOut))
def packages(request: HttpRequest, slug: Slug) -> Any:
    """Every package with its engines and their parity."""
    rows = Package.objects.with_content().prefetch_related("releases").filter(project=project_of(request))
    return {"packages": rows.order_by("-number")}


@router.post("", summary="Create a package", operation_id="build_package", **operation("deploy", PackageOut, 400, 409))
def build(request: HttpRequest, slug: Slug, body: BuildIn) -> Any:
    """Builds another package of the evaluation of a gate report. Poll until its ``status`` is done.

    Versions keep their package until they are deployed again.
    """
    project = project_of(request)
    report = GateReport.objects.filter(project=project, number=body.report).first()
    if report is None:
        raise field_problem("report", f"There is no gate report {body.report}.")
    user: Any = caller(request).user
    package = services.build_again(run=report.eval_run, user=user, variants=body.variants)
    return Package.objects.with_content().get(pk=package.pk)
