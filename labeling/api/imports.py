"""Imports of rows in the body or of a file. Every row is imported, a duplicate, or rejected with a reason."""

from collections.abc import Sequence
from io import BytesIO
from typing import Annotated, Any

from django.core.files.base import ContentFile
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import File, Form, Query, Router, UploadedFile
from pydantic import Field, StringConstraints

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.documents import router as documents
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem, upload_problem
from labeling.api.schemas.base import Flag, Text
from labeling.api.schemas.imports import ImportedOut, ImportRunOut, ImportRunsOut
from labeling.api.wire import answer, at
from labeling.imports import services as import_services
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.formats.registry import FORMATS, describe_options
from labeling.models import ImportRun, Project
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.errors import Refused
from slmstudio.runs import controls
from slmstudio.storage import artifacts
from slmstudio.web.paging import page

router = Router(tags=["import"])
#: imported before the response; more rows become a background import
MAX_IMMEDIATE_ROWS = 1_000
PER_PAGE = 50
LINES = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/x-jsonlines")
Source = Annotated[Text, StringConstraints(max_length=200)]
Kind = Annotated[str, Field(max_length=20, description=f"one of {', '.join(FORMATS)}; detected if it is not given")]
Options = Annotated[str, Field(max_length=100_000, description=f"a JSON object: {describe_options()}")]
_FORM = ("file", "kind", "options", "as_holdout", "synthetic")
# Any item is accepted: invalid rows are rejected in the response, the others are imported.
_ROW = {
    "description": (
        "An object with `text`; `id` (default: derived from the text), `gold` (the label under the schema; without it "
        "the document is queued for labeling), `tags` (a list). Other keys become metadata."
    )
}
_EXAMPLE = [{"id": "A-1029", "text": "Invoice A-1029 of 2026-01-14 ...", "gold": {"invoice_id": "A-1029"}}]
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"type": "array", "minItems": 1, "items": _ROW}, "example": _EXAMPLE},
        "application/jsonl": {"schema": {"type": "string", "description": "one such object per line"}},
    },
}


@documents.post(
    "",
    summary="Import rows",
    tags=["import"],
    **operation("import", ImportedOut, 400, 413, 415, 507, also={202: ImportRunOut}, requestBody=_BODY),
)
def add_documents(
    request: HttpRequest,
    slug: Slug,
    as_holdout: Flag = Query(False, description="use the rows for evaluation only, never for training"),
    synthetic: Flag = Query(False, description="the rows are generated, not real documents"),
    source: Source = Query("api", description="the source of the rows"),
) -> HttpResponse:
    """Imports rows: a JSON list or JSONL. Up to 1,000 rows are imported immediately; with more the response is 202 and
    the import runs in the background. Duplicates (by text) change nothing. Invalid rows are listed with number and
    reason; the others are imported.
    """
    project = project_of(request)
    marks = {"as_holdout": as_holdout, "synthetic": synthetic}
    content_type = (request.content_type or "").lower()
    if content_type in LINES:
        body = request.body
        if sum(1 for line in BytesIO(body) if not line.isspace()) > MAX_IMMEDIATE_ROWS:
            return _start_rows(request, project, body, source, **marks)
        rows: list[Any] = list(parse_jsonl(BytesIO(body)))
    elif content_type == "application/json":
        listed = _list(request.body)
        if len(listed) > MAX_IMMEDIATE_ROWS:
            lines = "".join(f"{dumps(row)}\n" for row in listed).encode()
            return _start_rows(request, project, lines, source, **marks)
        rows = listed
    else:
        raise Problem(415, "Send rows as application/json (a list) or application/jsonl (one object per line).")
    if not rows:
        raise Problem(422, "There are no rows.")
    result = import_services.insert_rows(
        project=project,
        user=caller(request).user,
        rows=rows,
        source=source or "api",
        as_holdout=as_holdout,
        synthetic=synthetic,
    )
    return answer(
        {
            "imported": result.imported,
            "duplicates": result.duplicates,
            "rejected": result.rejected,
            "errors": [_error(reject.row, reject.id, reject.reason) for reject in result.rejects],
        }
    )


def _list(body: bytes) -> list[Any]:
    try:
        rows = loads(body, max_characters=None)
    except JsonError as error:
        place = {"line": error.line, "column": error.column}
        raise Problem(400, f"The body is not valid JSON: {error}.", more=place) from error
    if not isinstance(rows, list):
        raise Problem(422, "The body must be a list of rows.")
    return rows


def _start_rows(request: HttpRequest, project: Project, lines: bytes, source: str, **marks: bool) -> HttpResponse:
    return _start(request, project, ContentFile(lines, name="rows.jsonl"), source, "jsonl", **marks)


def _start(
    request: HttpRequest, project: Project, upload: Any, name: str, kind: str | None, **more: Any
) -> HttpResponse:
    try:
        run = import_services.start_import(
            project=project, user=caller(request).user, file=upload, file_name=name, kind=kind, **more
        )
    except Refused as refusal:
        raise upload_problem(refusal) from refusal
    run.project = project
    return answer(_run(run), 202)


def _error(row: Any, name: str, reason: str) -> dict[str, Any]:
    return {"row": row, "id": name, "message": reason}


# -- files -------------------------------------------------------------------------------------------------------------


@router.get("", summary="List imports", **operation("read", ImportRunsOut))
def imports(request: HttpRequest, slug: Slug, before: int | None = Query(None, ge=1, lt=2**63)) -> HttpResponse:
    """The imports of the project, newest first, fifty per page."""
    project = project_of(request)
    runs = page(ImportRun.objects.filter(project=project), after=before, newest=True, size=PER_PAGE)
    for run in runs.rows:
        run.project = project
    return answer({"items": [_run(run) for run in runs.rows], "next_before": runs.after})


@router.post("", summary="Import a file", **operation("import", ImportRunOut, 400, 413, 507, status=202))
def start_import(
    request: HttpRequest,
    slug: Slug,
    file: UploadedFile = File(...),
    kind: Kind = Form(""),
    options: Options = Form(""),
    as_holdout: Flag = Form(False),
    synthetic: Flag = Form(False),
) -> HttpResponse:
    """Imports a file in the background, in any format of the import page, up to 2 GB (multipart/form-data)."""
    project = project_of(request)
    parsed = file_options(request, kind, options, _FORM)
    return _start(
        request,
        project,
        file,
        file.name or "upload",
        kind or None,
        options=parsed,
        as_holdout=as_holdout,
        synthetic=synthetic,
    )


def file_options(request: HttpRequest, kind: str, options: str, names: Sequence[str]) -> dict[str, Any]:
    """The options in the fields of a form that sends a file, which has no other fields than ``names``.

    Raises:
        Problem: a field is unknown, or invalid.
    """
    unknown = sorted({*request.POST, *request.FILES}.difference(names))
    if unknown:
        raise field_problem(unknown[0][:100], f"Unknown field {unknown[0][:100]}. The fields are {', '.join(names)}.")
    if kind and kind not in FORMATS:
        raise field_problem("kind", f"Unknown format {kind}. The formats are {', '.join(FORMATS)}.")
    try:
        parsed = loads(options or "{}")
    except JsonError as error:
        raise field_problem("options", f"This is not valid JSON: {error}.") from error
    if not isinstance(parsed, dict):
        raise field_problem("options", "This must be a JSON object.")
    return parsed


@router.get("/{int:pk}", summary="Get an import", **operation("read", ImportRunOut))
def import_run(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """The state of an import, and its first hundred rejected rows."""
    run = object_of(request, ImportRun, pk=pk)
    return answer(_run(run))


@router.post("/{int:pk}/cancel", summary="Cancel an import", **operation("import", ImportRunOut))
def cancel_import(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Cancels an import; imported documents stay. No effect on one that has ended."""
    run = object_of(request, ImportRun, pk=pk)
    controls.cancel(run=run, user=caller(request).user)
    run.refresh_from_db()
    return answer(_run(run))


@router.get(
    "/{int:pk}/rejected",
    summary="Download rejected rows",
    **operation("read", None, files=("application/jsonl",)),
)
def rejected_rows(request: HttpRequest, slug: Slug, pk: int) -> HttpResponseBase:
    """All rejected rows of an import as JSONL: `row`, `id`, `reason`, `line`. 404 if there are none."""
    run = object_of(request, ImportRun, pk=pk)
    store = artifacts.store()
    if not run.rejects_key or not store.exists(run.rejects_key):
        raise Problem(404, "No row of this import was rejected, or it has not ended.")
    return FileResponse(store.open(run.rejects_key), content_type="application/jsonl; charset=utf-8")


def _run(run: ImportRun) -> dict[str, Any]:
    by_page = run.is_live and run.kind in FORMATS and FORMATS[run.kind].is_paged
    return {
        "id": run.pk,
        "status": run.status,
        "file_name": run.file_name,
        "kind": run.kind,
        "encoding": run.encoding,
        "stage": run.stage,
        "rows_done": run.imported + run.duplicates + run.rejected,
        "rows_total": None if by_page else run.progress_total or None,
        "imported": run.imported,
        "duplicates": run.duplicates,
        "rejected": run.rejected,
        "errors": [_error(row.get("row"), row.get("id", ""), row.get("reason", "")) for row in run.rejects],
        "error": run.error,
        "created_at": at(run.created_at),
        "finished_at": at(run.finished_at),
        "url": f"/p/{run.project.slug}/documents/import/{run.pk}/",
    }
