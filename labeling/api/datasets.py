"""Dataset versions, exports and progress."""

from typing import TYPE_CHECKING, Any, Literal

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.documents import chosen
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.datasets import DatasetOut, DatasetsOut, FreezeIn, FreezeRunOut, ProgressOut
from labeling.api.schemas.documents import DocumentFilters
from labeling.api.wire import answer, at
from labeling.datasets import export as dataset_export
from labeling.datasets import freeze as freeze_module
from labeling.datasets.formats.base import Format
from labeling.datasets.formats.registry import FORMATS
from labeling.datasets.freeze_rules import Rules
from labeling.models import DatasetVersion, Document, DocumentState, FreezeRun, Gold
from labeling.models.documents import QUEUE
from slmstudio.access import Action, may
from slmstudio.errors import Refused

router = Router(tags=["datasets"])
project_router = Router(tags=["datasets"])
if TYPE_CHECKING:
    ShapeName = str
else:
    ShapeName = Literal[tuple(FORMATS)]
_FILES = ("application/jsonl", "text/csv", "application/json", "application/zip")


@router.get("", summary="List dataset versions", **operation("read", DatasetsOut))
def datasets(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The dataset versions of the project, newest first."""
    project = project_of(request)
    rows = project.datasets.select_related("schema_version", "created_by").order_by("-number")
    return answer({"items": [_out(project, row) for row in rows]})


@router.post("", summary="Freeze a dataset version", **operation("curate", FreezeRunOut, 400, status=202))
def freeze(request: HttpRequest, slug: Slug, body: FreezeIn) -> HttpResponse:
    """Freezes the labeled documents in the background. Use the `id` of the response to read its progress."""
    project = project_of(request)
    values = body.model_dump()
    shares = {name: values.pop(name) for name in ("seed", "validation_share", "holdout_share")}
    rules: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        run = freeze_module.start_freeze(project=project, user=caller(request).user, rules=Rules(**rules), **shares)
    except Refused as refusal:
        raise field_problem(refusal.field, refusal.message) from refusal
    return answer(_run(run), 202)


@router.get("/freezes/{int:pk}", summary="Get a freeze", **operation("read", FreezeRunOut))
def freeze_run(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """The state of a freeze; `dataset` is the version number when it is done."""
    run = object_of(request, FreezeRun.objects.select_related("dataset"), pk=pk)
    return answer(_run(run))


@router.get("/{int:number}", summary="Get a dataset version", **operation("read", DatasetOut))
def dataset(request: HttpRequest, slug: Slug, number: int) -> HttpResponse:
    """A version: its hashes, counts and rules."""
    version = object_of(request, DatasetVersion.objects.for_page(), number=number)
    project = version.project
    return answer(_out(project, version))


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
    try:
        pieces = dataset_export.export_project(
            project, shape, documents=documents, part=part, is_holdout=is_holdout, blind=blind
        )
    except Refused as refusal:
        raise Problem(409, str(refusal)) from refusal
    return _file(pieces, (project.slug, part, shape), FORMATS[shape])


@project_router.get("/progress", summary="Get the progress", **operation("read", ProgressOut))
def progress(request: HttpRequest, slug: Slug) -> HttpResponse:
    """Counts of documents by state, and of gold labels, hold-out documents and conflicts."""
    project = project_of(request)
    rows = Document.objects.filter(project=project)
    states = rows.counts_by_state()
    return answer(
        {
            "documents": sum(states.values()),
            "states": {state: states.get(state, 0) for state in DocumentState.values},
            "labelled": sum(states.get(state, 0) for state in (DocumentState.SUBMITTED, DocumentState.APPROVED)),
            "gold": Gold.objects.current(project).count(),
            **rows.progress(),
            "left": sum(states.get(state, 0) for state in QUEUE),
        }
    )


def _file(pieces: Any, parts: tuple[str, ...], shape: Format) -> StreamingHttpResponse:
    sent = StreamingHttpResponse(pieces, content_type=shape.content_type)
    sent["Content-Disposition"] = f'attachment; filename="{dataset_export.file_name(parts, shape)}"'
    return sent


def _out(project: Any, row: DatasetVersion) -> dict[str, Any]:
    row.project = project
    return {
        "number": row.number,
        "schema_number": row.schema_version.number,
        "instruction": row.instruction,
        "seed": row.seed,
        "rules": row.rules,
        "sha256": row.sha256,
        "holdout_sha256": row.holdout_sha256,
        "counts": row.counts,
        "created_by": row.created_by.get_username() if row.created_by is not None else None,
        "created_at": at(row.created_at),
        "url": row.get_absolute_url(),
    }


def _run(run: FreezeRun) -> dict[str, Any]:
    return {
        "id": run.pk,
        "status": run.status,
        "stage": run.stage,
        "error": run.error,
        "unchanged": run.unchanged,
        "dataset": run.dataset.number if run.dataset is not None else None,
    }
