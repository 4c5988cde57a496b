"""Documents coming in: rows in the body, or a file. Every row is imported, there already, or rejected with a reason."""

from io import BytesIO
from typing import Annotated, Any

from django.core.files.base import ContentFile
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import File, Form, Query, Router, UploadedFile
from pydantic import StringConstraints

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.documents import router as documents
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.common import Flag, Text, about
from labeling.api.schemas.data import ImportedOut, ImportRunOut, ImportRunsOut
from labeling.api.wire import answer, at
from labeling.imports import services as import_services
from labeling.imports.formats import KINDS
from labeling.imports.formats.options import WORDS
from labeling.imports.rows import parse_jsonl
from labeling.models import ImportRun, Project
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from slmstudio.web.paging import page

router = Router(tags=["import"])
#: rows of one request that are imported before it is answered; more become an import in the background
MOST_AT_ONCE = 1_000
PER_PAGE = 50
LINES = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/x-jsonlines")
Source = Annotated[Text, StringConstraints(max_length=200)]
_FORM = ("file", "kind", "options", "as_holdout", "synthetic")
# Any item is taken: what is no row is rejected in the answer, and the rest stands.
_ROW = {
    "description": (
        "An object with `text`; `id` (left out, one is made from the text), `gold` (the right answer, by the schema; "
        "left out, the document waits to be labelled), `tags` (failure tags). Other names are kept beside the document."
    )
}
_EXAMPLE = [{"id": "A-1029", "text": "Invoice A-1029 of 2026-01-14 ...", "gold": {"invoice_id": "A-1029"}}]
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"type": "array", "minItems": 1, "items": _ROW}, "example": _EXAMPLE},
        "application/jsonl": {"schema": {"type": "string", "description": "one such object a line"}},
    },
}


@documents.post(
    "",
    summary="Import rows",
    tags=["import"],
    **about("import", ImportedOut, 400, 413, 415, also={202: ImportRunOut}, requestBody=_BODY),
)
def add_documents(
    request: HttpRequest,
    slug: Slug,
    as_holdout: Flag = Query(False, description="keep them for judging, never train on them"),
    synthetic: Flag = Query(False, description="generated, not from real documents"),
    source: Source = Query("api", description="where they come from"),
) -> HttpResponse:
    """Imports rows: a JSON list, or JSONL. Up to 1,000 rows are imported at once; with more the answer is 202 and an
    import in the background. A row whose text is there already changes nothing; one that is not right is named with its
    number and the reason, and the rest stands.
    """
    project = project_of(request)
    marks = {"as_holdout": as_holdout, "synthetic": synthetic}
    kind = (request.content_type or "").lower()
    if kind in LINES:
        body = request.body
        if sum(1 for line in BytesIO(body) if not line.isspace()) > MOST_AT_ONCE:
            return _later(request, project, body, source, **marks)
        rows: list[Any] = list(parse_jsonl(BytesIO(body)))
    elif kind == "application/json":
        given = _list(request.body)
        if len(given) > MOST_AT_ONCE:
            lines = "".join(f"{dumps(row)}\n" for row in given).encode()
            return _later(request, project, lines, source, **marks)
        rows = given
    else:
        raise Problem(415, "Rows are sent as application/json (a list) or application/jsonl (one object a line).")
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
        given = loads(body, max_characters=None)
    except JsonError as error:
        place = {"line": error.line, "column": error.column}
        raise Problem(400, f"The body is not JSON as it is taken here: {error}.", more=place) from error
    if not isinstance(given, list):
        raise Problem(422, "The body must be a list of rows.")
    return given


def _later(request: HttpRequest, project: Project, lines: bytes, source: str, **marks: bool) -> HttpResponse:
    return _start(request, project, ContentFile(lines, name="rows.jsonl"), source, "jsonl", **marks)


def _start(
    request: HttpRequest, project: Project, upload: Any, name: str, kind: str | None, **more: Any
) -> HttpResponse:
    try:
        run = import_services.start_import(
            project=project, user=caller(request).user, file=upload, file_name=name, kind=kind, **more
        )
    except Refused as refusal:
        raise field_problem("file", str(refusal)) from refusal
    run.project = project
    return answer(_run(run), 202)


def _error(row: Any, name: str, reason: str) -> dict[str, Any]:
    return {"row": row, "id": name, "message": reason}


# -- files -------------------------------------------------------------------------------------------------------------


@router.get("", summary="List imports", **about("read", ImportRunsOut))
def imports(request: HttpRequest, slug: Slug, before: int | None = Query(None, ge=1, lt=2**63)) -> HttpResponse:
    """Imports of the project, the newest first, fifty at a time."""
    project = project_of(request)
    found = page(ImportRun.objects.filter(project=project), after=before, newest=True, size=PER_PAGE)
    for run in found.rows:
        run.project = project
    return answer({"items": [_run(run) for run in found.rows], "next_before": found.after})


@router.post("", summary="Import a file", **about("import", ImportRunOut, 400, 413, status=202))
def start_import(
    request: HttpRequest,
    slug: Slug,
    file: UploadedFile = File(...),
    kind: str = Form("", max_length=20, description=f"one of {', '.join(KINDS)}; left out, told from the file"),
    options: str = Form("", max_length=100_000, description=f"a JSON object: {WORDS}"),
    as_holdout: Flag = Form(False),
    synthetic: Flag = Form(False),
) -> HttpResponse:
    """Imports a file in the background: whatever the import page takes, up to 2 GB (multipart/form-data)."""
    project = project_of(request)
    unknown = sorted({*request.POST, *request.FILES}.difference(_FORM))
    if unknown:
        raise field_problem(unknown[0][:100], f"There is no field {unknown[0][:100]}; there are {', '.join(_FORM)}.")
    if kind and kind not in KINDS:
        raise field_problem("kind", f"There is no kind {kind}; there are {', '.join(KINDS)}.")
    told: Any = None
    if options:
        try:
            told = loads(options)
        except JsonError as error:
            raise field_problem("options", f"This is not JSON: {error}.") from error
        if not isinstance(told, dict):
            raise field_problem("options", "This must be a JSON object.")
    return _start(
        request,
        project,
        file,
        file.name or "upload",
        kind or None,
        options=told,
        as_holdout=as_holdout,
        synthetic=synthetic,
    )


@router.get("/{int:pk}", summary="Read an import", **about("read", ImportRunOut))
def import_run(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """How an import stands, and the first hundred rows that were rejected."""
    run = object_of(request, ImportRun, pk=pk)
    return answer(_run(run))


@router.post("/{int:pk}/cancel", summary="Cancel an import", **about("import", ImportRunOut))
def cancel_import(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Stops an import; what was imported so far stays. Nothing happens to one that has ended."""
    run = object_of(request, ImportRun, pk=pk)
    run.cancel()
    run.refresh_from_db()
    return answer(_run(run))


@router.get(
    "/{int:pk}/rejected",
    summary="Download rejected rows",
    **about("read", None, files=("application/jsonl",)),
)
def rejected_rows(request: HttpRequest, slug: Slug, pk: int) -> HttpResponseBase:
    """All rejected rows of an import as JSONL: `row`, `id`, `reason`, `line`. 404 where there are none."""
    run = object_of(request, ImportRun, pk=pk)
    store = artifacts.store()
    if not run.rejects_key or not store.exists(run.rejects_key):
        raise Problem(404, "No row of this import was rejected, or it has not ended.")
    return FileResponse(store.open(run.rejects_key), content_type="application/jsonl; charset=utf-8")


def _run(run: ImportRun) -> dict[str, Any]:
    by_page = run.is_live and run.kind in ("pdf", "image")  # its progress counts pages
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
