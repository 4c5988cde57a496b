"""Dataset versions, exports and progress."""

from typing import TYPE_CHECKING, Any, Literal

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from ninja import Query, Router, Status
from pydantic import Field

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.documents import DocumentFilters, chosen
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas import In, Items, Moment, Number, Out, State, Text, UserName, Whole
from labeling.datasets import export as dataset_export
from labeling.datasets import freeze as freeze_module
from labeling.datasets.formats.base import Format
from labeling.datasets.formats.registry import FORMATS
from labeling.datasets.freeze_rules import Rules
from labeling.datasets.near_duplicates import HIGHEST, LOWEST, THRESHOLD
from labeling.models import DatasetVersion, DocumentState, FreezeRun, Gold
from labeling.models.documents import QUEUE
from slmstudio.access import Action, may

router = Router(tags=["datasets"])
project_router = Router(tags=["datasets"])
if TYPE_CHECKING:
    ShapeName = str
else:
    ShapeName = Literal[tuple(FORMATS)]
_FILES = ("application/jsonl", "text/csv", "application/json", "application/zip")


class ProgressOut(Out):
    """The labeling progress."""

    documents: int
    states: dict[str, int]
    labelled: int
    gold: int
    holdout: int
    disputed: int
    left: int = Field(description="documents in the queue")


class FreezeIn(In):
    """The rules of a dataset version. Shares from 0 to 1."""

    seed: Whole = Field(17, ge=0, lt=2**31)
    validation_share: Number = Field(0.1, ge=0, le=0.5)
    holdout_share: Number = Field(0.2, ge=0, le=0.9)
    similarity: Number = Field(THRESHOLD, ge=LOWEST, le=HIGHEST, description="similarity threshold for near-duplicates")
    group_by: Text = Field("", max_length=200, description="source, or metadata.<key>: groups stay in one split")
    large_families: Literal["", "whole", "spread"] = Field(
        "",
        description="families with 10% or more of all documents: hold out one whole, or spread each across the splits",
    )
    stratify: Text = Field("", max_length=300, description="tags, or a field with a fixed set of values")
    states: list[State] = Field([], max_length=10)
    origins: list[Literal["human", "prelabelled", "imported", "synthetic"]] = Field([], max_length=10)
    tags: list[Text] = Field([], max_length=100, description="only documents with one of these")
    without_tags: list[Text] = Field([], max_length=100)
    silver: Literal["", "agreement", "confidence"] = Field(
        "", description="pre-labels of unlabeled documents that become silver labels, for training only"
    )
    silver_confidence: Number = Field(0.95, ge=0, le=1, description="lowest confidence of any field of a silver label")
    most: Whole | None = Field(None, ge=2, lt=2**31, description="maximum for training and validation")


class DatasetOut(Out):
    """A dataset version."""

    number: int
    schema_number: int = Field(validation_alias="schema_version.number")
    instruction: str
    seed: int
    rules: dict[str, Any]
    sha256: str
    holdout_sha256: str
    counts: dict[str, Any]
    created_by: UserName | None
    created_at: Moment
    url: str = Field(validation_alias="get_absolute_url")


class FreezeRunOut(Out):
    """A background freeze. ``dataset`` is set when it is done."""

    id: int
    status: str
    stage: str
    error: str
    unchanged: bool = Field(description="nothing changed; dataset is the existing version")
    dataset: int | None

    @staticmethod
    def resolve_dataset(run: FreezeRun) -> int | None:
        """The number of the version."""
        return run.dataset.number if run.dataset is not None else None


@router.get("", summary="List dataset versions", **operation("read", Items[DatasetOut]))
def datasets(request: HttpRequest, slug: Slug) -> Any:
    """The dataset versions of the project, newest first."""
    return {"items": project_of(request).datasets.for_page()}


@router.post("", summary="Freeze a dataset version", **operation("curate", FreezeRunOut, 400, 409, status=202))
def freeze(request: HttpRequest, slug: Slug, body: FreezeIn) -> Any:
    """Freezes the labeled documents in the background. Use the `id` of the response to read its progress."""
    project = project_of(request)
    values = body.model_dump()
    shares = {name: values.pop(name) for name in ("seed", "validation_share", "holdout_share")}
    rules: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    run = freeze_module.start_freeze(project=project, user=caller(request).user, rules=Rules(**rules), **shares)
    return Status(202, run)


@router.get("/freezes/{int:pk}", summary="Get a freeze", **operation("read", FreezeRunOut))
def freeze_run(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """The state of a freeze; `dataset` is the version number when it is done."""
    return object_of(request, FreezeRun.objects.select_related("dataset"), pk=pk)


@router.get("/{int:number}", summary="Get a dataset version", **operation("read", DatasetOut))
def dataset(request: HttpRequest, slug: Slug, number: int) -> Any:
    """A version: its hashes, counts and rules."""
    return object_of(request, DatasetVersion.objects.for_page(), number=number)


@router.get("/{int:number}/export", summary="Export a dataset version", **operation("read", None, files=_FILES))
def export_dataset(
    request: HttpRequest,
    slug: Slug,
    number: int,
    shape: ShapeName = Query("instruct"),
    split: Literal["", "train", "validation", "holdout"] = Query(
        "",
        description="default: train for instruct, chat and completion (their rows do not name a split); otherwise all",
    ),
) -> HttpResponseBase:
    """The version as a streamed file. Do not train on `holdout`: it is for evaluation only."""
    version = object_of(request, DatasetVersion.objects.with_schema(), number=number)
    project = version.project
    try:
        pieces = dataset_export.export_dataset(version, shape, split)
    except FileNotFoundError as error:
        raise Problem(404, str(error)) from error
    split_name = dataset_export.default_split(FORMATS[shape], split)
    return _file(pieces, (project.slug, f"v{number}", split_name, shape), FORMATS[shape])


@project_router.get("/export", summary="Export labels", **operation("read", None, 409, files=_FILES))
def export(
    request: HttpRequest,
    slug: Slug,
    shape: ShapeName = Query("rows"),
    part: Literal["gold", "labels", "all"] = Query(
        "gold", description="gold labels; labels that are not gold yet; or all documents"
    ),
    filters: DocumentFilters = Query(...),
) -> HttpResponseBase:
    """The current labels of the project as a streamed file, optionally filtered like the document list. Files for
    training (instruct, chat, completion) leave out the hold-out unless `holdout=yes` chooses it; the others mark it.
    """
    project = project_of(request)
    some = set(request.GET).intersection(DocumentFilters.model_fields)
    documents = chosen(request, project, filters) if some else None
    blind = None if may(project.role, Action.REVIEW) else caller(request).user.pk
    is_holdout = filters.holdout == "yes" or filters.split == "holdout"
    pieces = dataset_export.export_project(
        project, shape, documents=documents, part=part, is_holdout=is_holdout, blind=blind
    )
    return _file(pieces, (project.slug, part, shape), FORMATS[shape])


@project_router.get("/progress", summary="Get the progress", **operation("read", ProgressOut))
def progress(request: HttpRequest, slug: Slug) -> Any:
    """Counts of documents by state, and of gold labels, hold-out documents and conflicts."""
    project = project_of(request)
    states = project.documents.counts_by_state()
    return {
        "documents": sum(states.values()),
        "states": {state: states.get(state, 0) for state in DocumentState.values},
        "labelled": sum(states.get(state, 0) for state in (DocumentState.SUBMITTED, DocumentState.APPROVED)),
        "gold": Gold.objects.current(project).count(),
        **project.documents.progress(),
        "left": sum(states.get(state, 0) for state in QUEUE),
    }


def _file(pieces: Any, parts: tuple[str, ...], shape: Format) -> StreamingHttpResponse:
    sent = StreamingHttpResponse(pieces, content_type=shape.content_type)
    sent["Content-Disposition"] = f'attachment; filename="{dataset_export.file_name(parts, shape)}"'
    return sent
