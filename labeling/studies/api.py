"""Studies over REST: list, start, read, cancel, resume."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Status
from pydantic import Field

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import field_problem
from labeling.api.schemas import In, Items, Out, Text
from labeling.models import Study
from labeling.studies import services
from labeling.studies.kinds import all_kinds, kind_of

router = Router(tags=["studies"])
_PATH = "/{slug:kind}/{int:number}"


class StudyIn(In):
    """A new study. ``spec``: values by name, as in the form and the YAML file of its kind; defaults for others."""

    kind: Annotated[Text, Field(description="search, prompt, learning-curve, label-check or queue-order")]
    spec: dict[str, Any] = {}
    name: Annotated[Text, Field(max_length=120)] = ""


class StudyOut(Out):
    """A study. ``trials``: what is measured so far; ``result``: what it concluded; their members depend on the kind."""

    kind: str
    number: int
    name: str
    status: str = Field(description="queued, running, done, failed or cancelled")
    stage: str
    error: str
    progress_done: int
    progress_total: int
    dataset: int | None = Field(None, validation_alias="dataset.number")
    spec: dict[str, Any]
    trials: list[dict[str, Any]]
    result: dict[str, Any]
    page: str = Field(validation_alias="get_absolute_url")


@router.get("", summary="List studies", operation_id="studies", **operation("read", Items[StudyOut]))
def studies(request: HttpRequest, slug: Slug, kind: str = Query("", max_length=20)) -> Any:
    """The fifty newest studies of the project, or of a kind."""
    return {"items": project_of(request).studies.newest(kind)[:50]}


@router.post("", summary="Create a study", operation_id="start_study", **operation("train", StudyOut, 400, status=202))
def start(request: HttpRequest, slug: Slug, body: StudyIn) -> Any:
    """Starts a study in the background: poll it until its ``status`` is neither queued nor running."""
    kind = kind_of(body.kind)
    if kind is None:
        raise field_problem("kind", f"must be one of {', '.join(kind.key for kind in all_kinds())}")
    project, user = project_of(request), caller(request).user
    return Status(202, services.start(project=project, user=user, kind=kind, spec=body.spec, name=body.name))


@router.get(_PATH, summary="Get a study", operation_id="study", **operation("read", StudyOut))
def read(request: HttpRequest, slug: Slug, kind: str, number: int) -> Any:
    """A study with its trials and its result."""
    return object_of(request, Study, kind=kind, number=number)


@router.post(f"{_PATH}/cancel", summary="Cancel a study", operation_id="cancel_study", **operation("train", StudyOut))
def cancel(request: HttpRequest, slug: Slug, kind: str, number: int) -> Any:
    """Cancels a study with its runs; its trials are kept. Idempotent."""
    study = object_of(request, Study, kind=kind, number=number)
    services.cancel(study=study, user=caller(request).user)
    return study


@router.post(f"{_PATH}/resume", summary="Resume a study", operation_id="resume_study", **operation("train", StudyOut))
def resume(request: HttpRequest, slug: Slug, kind: str, number: int) -> Any:
    """Continues a study that failed or was cancelled."""
    study = object_of(request, Study, kind=kind, number=number)
    services.resume(study=study, user=caller(request).user)
    study.refresh_from_db()
    return study
