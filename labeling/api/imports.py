"""Imports of rows in the body or of a file, and their previews. Every row is imported, a duplicate, or rejected with a
reason.
"""

from io import BytesIO
from typing import Annotated, Any

from django.core.files.base import ContentFile
from django.http import FileResponse, HttpRequest, HttpResponseBase
from ninja import File, Form, Query, Router, Status, UploadedFile
from pydantic import Field, StringConstraints

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.documents import router as documents
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.projects import DraftOut
from labeling.api.schemas import Before, Flag, Moment, Out, Page, RowOrField, Text, page
from labeling.imports import services as import_services
from labeling.imports import uploads
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.imports.formats.registry import COLUMNS, FORMATS, describe_options, options_error
from labeling.imports.reviews import ExchangeReview, ImportPreview
from labeling.imports.uploads import Upload
from labeling.models import ImportRun, Project
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.sources.examples import Draft
from slmstudio.errors import Refused
from slmstudio.runs import controls
from slmstudio.storage import artifacts

router = Router(tags=["import"])
#: imported before the response; more rows become a background import
MAX_IMMEDIATE_ROWS = 1_000
LINES = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/x-jsonlines")
Source = Annotated[Text, StringConstraints(max_length=200)]
Kind = Annotated[str, Field(max_length=20, description=f"one of {', '.join(FORMATS)}; detected if it is not given")]
Options = Annotated[str, Field(max_length=100_000, description=f"a JSON object: {describe_options()}")]
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


class ImportedOut(Out):
    """Rows = imported + duplicates + rejected."""

    imported: int
    duplicates: int = Field(description="documents with a text that already exists; not changed")
    rejected: int
    errors: list[RowOrField] = Field(description="the first hundred rejected rows, each with its reason")

    @staticmethod
    def resolve_errors(result: Any) -> list[dict[str, Any]]:
        """Each with its row, its id and its message."""
        return [{"row": row["row"], "id": row["id"], "message": row["reason"]} for row in result.rejects]


class ImportRunOut(ImportedOut):
    """A background import."""

    id: int
    status: str = Field(description="queued, running, done, failed or cancelled")
    file_name: str
    kind: str
    encoding: str = Field(description="encoding of the texts; set when the import has ended")
    stage: str = Field(description="the current step; with the page of a PDF or image in a zip")
    rows_done: int
    rows_total: int | None
    error: str
    created_at: Moment
    finished_at: Moment | None
    url: str = Field(validation_alias="get_absolute_url")

    @staticmethod
    def resolve_rows_done(run: ImportRun) -> int:
        """Rows of each kind."""
        return run.imported + run.duplicates + run.rejected

    @staticmethod
    def resolve_rows_total(run: ImportRun) -> int | None:
        """Null while pages are counted, or if it is unknown."""
        by_page = run.is_live and run.kind in FORMATS and FORMATS[run.kind].is_paged
        return None if by_page else run.progress_total or None


class PreviewRowOut(Out):
    """A document as it would be stored."""

    row: int = Field(validation_alias="number")
    text: str
    answer: str = Field(description="JSON or text; empty if the exchange has no answer")
    problem: str = Field(description="why the answer does not match the schema; empty if it does")


class ExchangesOut(Out):
    """What a fine-tuning file, log or trace becomes."""

    shapes: str
    answers: int = Field(description="number of answers in the first rows")
    matching: int = Field(description="answers that match the project schema")
    instruction: str = Field(description="the shared prompt")
    documents: list[PreviewRowOut] = Field(validation_alias="shown")
    is_demanded: bool = Field(
        description="true if the requests define the schema; false if it is derived from the answers"
    )
    draft: DraftOut | None = Field(description="the schema of the file; null if none can be derived")

    @staticmethod
    def resolve_instruction(review: ExchangeReview) -> str:
        """Empty without one."""
        return review.shared.instruction if review.shared else ""

    @staticmethod
    def resolve_is_demanded(review: ExchangeReview) -> bool:
        """Of the schema."""
        return bool(review.contract and review.contract.is_demanded)

    @staticmethod
    def resolve_draft(review: ExchangeReview) -> Draft | None:
        """That of the contract."""
        return review.contract.draft if review.contract else None


class ColumnsOut(Out):
    """What the columns of a table become."""

    roles: dict[str, str] = Field(description="a role for each column; send them as the option columns")
    detected: dict[str, Any] = Field(description="options that were detected in the file")
    first_rows: list[list[str]]
    error: str = Field(description="why the table cannot be imported with these roles; empty if it can")


class ImportPreviewOut(Out):
    """The first rows of a file, as an import would read them."""

    kind: str
    rows: int
    valid: int
    errors: list[RowOrField] = Field(description="reasons for rejected rows, each with its first row")
    exchanges: ExchangesOut | None = Field(None, description="for fine-tuning files, logs and traces")
    columns: ColumnsOut | None = Field(None, description="for tables")


@documents.post(
    "",
    summary="Import rows",
    tags=["import"],
    **operation("import", ImportedOut, 400, 413, 415, 507, also={202: ImportRunOut}, is_sparse=True, requestBody=_BODY),
)
def add_documents(
    request: HttpRequest,
    slug: Slug,
    as_holdout: Flag = Query(False, description="use the rows for evaluation only, never for training"),
    synthetic: Flag = Query(False, description="the rows are generated, not real documents"),
    source: Source = Query("api", description="the source of the rows"),
) -> Any:
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
        project=project, user=caller(request).user, rows=rows, source=source or "api", **marks
    )
    return Status(200, result)


def _list(body: bytes) -> list[Any]:
    try:
        rows = loads(body, max_characters=None)
    except JsonError as error:
        place = {"line": error.line, "column": error.column}
        raise Problem(400, f"The body is not valid JSON: {error}.", more=place) from error
    if not isinstance(rows, list):
        raise Problem(422, "The body must be a list of rows.")
    return rows


def _start_rows(request: HttpRequest, project: Project, lines: bytes, source: str, **marks: bool) -> Any:
    return _start(request, project, ContentFile(lines, name="rows.jsonl"), source, "jsonl", **marks)


def _start(request: HttpRequest, project: Project, upload: Any, name: str, kind: str | None, **more: Any) -> Any:
    run = import_services.start_import(
        project=project, user=caller(request).user, file=upload, file_name=name, kind=kind, **more
    )
    return Status(202, run)


# -- files -------------------------------------------------------------------------------------------------------------


@router.get("", summary="List imports", **operation("read", Page[ImportRunOut], is_sparse=True))
def imports(request: HttpRequest, slug: Slug, before: Before = None) -> Any:
    """The imports of the project, newest first, fifty per page."""
    return page(project_of(request).imports.all(), before)


@router.post(
    "", summary="Import a file", **operation("import", ImportRunOut, 400, 413, 507, status=202, is_sparse=True)
)
def start_import(
    request: HttpRequest,
    slug: Slug,
    file: UploadedFile = File(...),
    kind: Kind = Form(""),
    options: Options = Form(""),
    as_holdout: Flag = Form(False),
    synthetic: Flag = Form(False),
) -> Any:
    """Imports a file in the background, in any format of the import page, up to 2 GB (multipart/form-data)."""
    parsed = _options(request, kind, options, "as_holdout", "synthetic")
    return _start(
        request,
        project_of(request),
        file,
        file.name or "upload",
        kind or None,
        options=parsed,
        as_holdout=as_holdout,
        synthetic=synthetic,
    )


def _options(request: HttpRequest, kind: str, options: str, *more: str) -> dict[str, Any]:
    """The options in the fields of a form that sends a file, which has no other fields than these and ``more``.

    Raises:
        Problem: a field is unknown, or invalid.
    """
    names = ("file", "kind", "options", *more)
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


@router.get("/{int:pk}", summary="Get an import", **operation("read", ImportRunOut, is_sparse=True))
def import_run(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """The state of an import, and its first hundred rejected rows."""
    return object_of(request, ImportRun, pk=pk)


@router.post("/{int:pk}/cancel", summary="Cancel an import", **operation("import", ImportRunOut, is_sparse=True))
def cancel_import(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Cancels an import; imported documents stay. No effect on one that has ended."""
    run = object_of(request, ImportRun, pk=pk)
    controls.cancel(run=run, user=caller(request).user)
    run.refresh_from_db()
    return run


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


# -- previews -----------------------------------------------------------------------------------------------------


@router.post(
    "/preview", summary="Preview an import", **operation("import", ImportPreviewOut, 400, 413, 507, is_sparse=True)
)
def preview_import(
    request: HttpRequest,
    slug: Slug,
    file: UploadedFile = File(...),
    kind: Kind = Form(""),
    options: Options = Form(""),
) -> Any:
    """The first rows of a file as an import with these options would read them: which are valid; the roles of the
    columns of a table; documents, answers, shared prompt and schema of a fine-tuning file, log or trace.
    """
    project = project_of(request)
    parsed = _options(request, kind, options)
    upload = uploads.store_upload(files=[file], kind=kind)
    try:
        if error := options_error(parsed, upload.kind):
            raise field_problem("options", error)
        return {"kind": upload.kind, **_preview(upload, project, parsed)}
    finally:
        uploads.delete_upload(upload)


def _preview(upload: Upload, project: Project, options: dict[str, Any]) -> dict[str, Any]:
    if upload.format.is_reviewed:
        return _exchanges(upload, project, options)
    if upload.format.is_table:
        return _columns(upload, project, options)
    if upload.format.is_paged or upload.kind == "zip":
        raise Refused(f"A file of the format {upload.kind} has no preview. Import it directly.", field="file")
    return _rows(uploads.preview_rows(upload, options, project.schema_version))


def _rows(preview: ImportPreview | None) -> dict[str, Any]:
    if preview is None:
        return {"rows": 0, "valid": 0, "errors": []}
    errors = [{"message": f"{where}: {reason}"} for where, reason in preview.reasons]
    return {"rows": preview.rows, "valid": preview.valid, "errors": errors}


def _columns(upload: Upload, project: Project, options: dict[str, Any]) -> dict[str, Any]:
    given = options.pop(COLUMNS, {})
    review = uploads.review_table(upload, options, project.schema_version, given)
    columns = {
        "roles": dict(review.roles),
        "detected": review.table.detected,
        "first_rows": review.table.rows,
        "error": review.error,
    }
    return {**_rows(review.preview), "columns": columns}


def _exchanges(upload: Upload, project: Project, options: dict[str, Any]) -> dict[str, Any]:
    review = uploads.review_exchanges(upload, options, project.schema_version)
    errors = [{"row": number, "message": reason} for reason, number in review.reasons.items()]
    return {"rows": review.rows, "valid": review.valid, "errors": errors, "exchanges": review}
