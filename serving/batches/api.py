"""Batches over REST: a file of documents, its progress, and its result."""

from io import BytesIO
from typing import IO, Annotated, Any

from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from ninja import Query, Router, Status
from pydantic import Field

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import Before, Flag, Moment, Out, Page, Text, page
from serving.batches import services
from serving.models import BatchRun
from slmstudio.storage.artifacts import local_path

router = Router(tags=["batch"])
_LINES = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/x-jsonlines")
_DOCUMENT = {"description": "An object with `text`; optional `id`, which the result repeats, `page` and `caller`."}
_BODY = {
    "required": True,
    "content": {
        "application/jsonl": {"schema": {"type": "string", "description": "one such object per line"}},
        "application/json": {"schema": {"type": "array", "minItems": 1, "items": _DOCUMENT}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary", "description": "up to 200 MB"}},
            }
        },
    },
}
Name = Annotated[Text, Field(max_length=200)]


class BatchOut(Out):
    """A batch. ``done`` = answered + failed."""

    id: int = Field(validation_alias="pk")
    name: str
    status: str = Field(description="queued, running, done, failed or cancelled")
    total: int = Field(validation_alias="progress_total")
    done: int
    answered: int = Field(description="lines with a valid output")
    failed: int = Field(description="lines with an error")
    code: str = Field(description="why it stopped, such as budget; empty if it did not")
    error: str
    seconds_left: float | None
    can_resume: bool
    result: str | None = Field(
        description="where the result is, once the batch has ended", validation_alias="result_address"
    )
    created_at: Moment
    finished_at: Moment | None
    erased_at: Moment | None = Field(description="when its files were deleted")

    @staticmethod
    def resolve_done(run: BatchRun) -> int:
        """Lines with a result."""
        return run.answered + run.failed


@router.post(
    "",
    summary="Create a batch",
    operation_id="start_batch",
    **operation("extract", BatchOut, 400, 409, 413, 415, status=202, also={200: BatchOut}, requestBody=_BODY),
)
def start(
    request: HttpRequest,
    slug: Slug,
    name: Name = Query("", description="display name; default: the name of the file"),  # type: ignore[type-arg]
    evidence: Flag = Query(True, description="include the position of each value in the text"),  # type: ignore[type-arg]
) -> Any:
    """Answers many documents in the background: JSONL, a JSON list, or a file with either.

    Live requests have priority. A bad line becomes a line with an error. With the header `Idempotency-Key`, a
    request that is sent again gets the first batch (200).
    """
    project, who = project_of(request), caller(request)
    source, file_name = _source(request)
    run, is_new = services.start(
        project=project, user=who.user, token=who.token, source=source, name=name or file_name,
        key=request.headers.get("Idempotency-Key", ""), evidence=evidence,
    )  # fmt: skip
    run.project = project
    return Status(202 if is_new else 200, run)


def _source(request: HttpRequest) -> tuple[IO[bytes], str]:
    kind = (request.content_type or "").lower()
    if kind == "multipart/form-data":
        if set(request.FILES) != {"file"} or len(request.FILES.getlist("file")) != 1:
            raise field_problem("file", "Send one file in the field file.")
        file: Any = request.FILES["file"]
        return file.file, file.name or "batch"
    if kind == "application/json" or kind in _LINES:
        return BytesIO(request.body), "batch"
    raise Problem(415, "Send application/jsonl (one object per line), application/json (a list), or a file.")


@router.get("", summary="List batches", operation_id="batches", **operation("extract", Page[BatchOut]))
def batches(request: HttpRequest, slug: Slug, before: Before = None) -> Any:
    """The batches of the project, newest first, fifty per page."""
    return page(project_of(request).batches.all(), before)


@router.get("/{int:pk}", summary="Get a batch", operation_id="batch", **operation("extract", BatchOut))
def batch(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """The state of a batch."""
    return object_of(request, BatchRun, pk=pk)


@router.get(
    "/{int:pk}/result",
    summary="Download the result of a batch",
    operation_id="batch_result",
    **operation("extract", None, files=("application/jsonl",)),
)
def result(request: HttpRequest, slug: Slug, pk: int) -> HttpResponseBase:
    """JSONL in the order of the input: `line`, `id`, and the response to the document, or `error` with status, code
    and detail. 404 until the batch has ended, and after its files were deleted.
    """
    run = object_of(request, BatchRun, pk=pk)
    path = local_path(run.result_key) if run.has_result else None
    if path is None or not path.exists():
        raise Problem(404, "The batch has no result: it has not ended, or its files were deleted.")
    name = f"{slug}-batch-{pk}.jsonl"
    return FileResponse(
        path.open("rb"), as_attachment=True, filename=name, content_type="application/jsonl; charset=utf-8"
    )


@router.post(
    "/{int:pk}/cancel", summary="Cancel a batch", operation_id="cancel_batch", **operation("extract", BatchOut)
)
def cancel(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Cancels a batch; lines that were answered stay in the result. No effect on one that has ended."""
    run = object_of(request, BatchRun, pk=pk)
    services.cancel(run=run, user=caller(request).user)
    run.refresh_from_db()
    return run


@router.post(
    "/{int:pk}/resume", summary="Resume a batch", operation_id="resume_batch", **operation("extract", BatchOut, 409)
)
def resume(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Resumes a batch that was cancelled or has failed, such as one whose budget was spent."""
    run = object_of(request, BatchRun, pk=pk)
    services.resume(run=run, user=caller(request).user)
    run.refresh_from_db()
    return run
