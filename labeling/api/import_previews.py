"""Previews of imports: what the first rows of a file become. Nothing is stored."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import File, Form, Router, UploadedFile

from labeling.api.access import Slug, project_of
from labeling.api.imports import Kind, Options, file_options
from labeling.api.operations import operation
from labeling.api.problems import field_problem, upload_problem
from labeling.api.projects import draft_out
from labeling.api.schemas.imports import ImportPreviewOut
from labeling.api.wire import answer
from labeling.imports import uploads
from labeling.imports.formats.registry import COLUMNS, options_error
from labeling.imports.reviews import ImportPreview
from labeling.imports.uploads import Upload, preview_rows, review_exchanges, review_table
from labeling.models import Project
from slmstudio.errors import Refused

router = Router(tags=["import"])
_FORM = ("file", "kind", "options")


@router.post("/preview", summary="Preview an import", **operation("import", ImportPreviewOut, 400, 413, 507))
def preview_import(
    request: HttpRequest,
    slug: Slug,
    file: UploadedFile = File(...),
    kind: Kind = Form(""),
    options: Options = Form(""),
) -> HttpResponse:
    """The first rows of a file as an import with these options would read them: which are valid; the roles of the
    columns of a table; documents, answers, shared prompt and schema of a fine-tuning file, log or trace.
    """
    project = project_of(request)
    parsed = file_options(request, kind, options, _FORM)
    try:
        upload = uploads.store_upload(files=[file], kind=kind)
    except Refused as refusal:
        raise upload_problem(refusal) from refusal
    try:
        if error := options_error(parsed, upload.kind):
            raise field_problem("options", error)
        return answer({"kind": upload.kind, **_preview(upload, project, parsed)})
    except Refused as refusal:
        raise upload_problem(refusal) from refusal
    finally:
        uploads.delete_upload(upload)


def _preview(upload: Upload, project: Project, options: dict[str, Any]) -> dict[str, Any]:
    if upload.format.is_reviewed:
        return _exchanges(upload, project, options)
    if upload.format.is_table:
        return _columns(upload, project, options)
    if upload.format.is_paged or upload.kind == "zip":
        raise Refused(f"A file of the format {upload.kind} has no preview. Import it directly.")
    return _rows(preview_rows(upload, options, project.schema_version))


def _rows(preview: ImportPreview | None) -> dict[str, Any]:
    if preview is None:
        return {"rows": 0, "valid": 0, "errors": []}
    errors = [{"message": f"{where}: {reason}"} for where, reason in preview.reasons]
    return {"rows": preview.rows, "valid": preview.valid, "errors": errors}


def _columns(upload: Upload, project: Project, options: dict[str, Any]) -> dict[str, Any]:
    given = options.pop(COLUMNS, {})
    review = review_table(upload, options, project.schema_version, given)
    columns = {
        "roles": dict(review.roles),
        "detected": review.table.detected,
        "first_rows": review.table.rows,
        "error": review.error,
    }
    return {**_rows(review.preview), "columns": columns}


def _exchanges(upload: Upload, project: Project, options: dict[str, Any]) -> dict[str, Any]:
    review = review_exchanges(upload, options, project.schema_version)
    found = review.contract
    exchanges = {
        "shapes": review.shapes,
        "answers": review.answers,
        "matching": review.matching,
        "instruction": review.shared.instruction if review.shared else "",
        "documents": [
            {"row": row.number, "text": row.text, "answer": row.answer, "problem": row.problem} for row in review.shown
        ],
        "is_demanded": bool(found and found.is_demanded),
        "draft": draft_out(found.draft) if found else None,
    }
    errors = [{"row": number, "message": reason} for reason, number in review.reasons.items()]
    return {"rows": review.rows, "valid": review.valid, "errors": errors, "exchanges": exchanges}
