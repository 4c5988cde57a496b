"""Annotation: open, save, submit, skip and tag documents, and comments."""

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Router

from labeling.annotation import services as annotation_services
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.annotation import (
    NextIn,
    NotSubmittedOut,
    OpenedOut,
    RestoreIn,
    SavedOut,
    SaveIn,
    SkipIn,
    TagsIn,
    TagsOut,
)
from labeling.api.schemas.comments import CommentIn, CommentOut, CommentsOut
from labeling.api.serializers import comment_row, opened_row, problem_rows, saved_row
from labeling.api.wire import answer, nothing
from labeling.comments import services as comment_services
from labeling.models import Comment, Document
from slmstudio.errors import Refused

router = Router(tags=["labeling"])
_NOT_NOW = {409: NotSubmittedOut, 422: NotSubmittedOut}


@router.post("/queue/next", summary="Open the next document", **operation("label", OpenedOut, 400, also={204: None}))
def next_document(request: HttpRequest, slug: Slug, body: NextIn) -> HttpResponse:
    """Opens the next document of the user's queue and locks it for ten minutes; 204 if the queue is empty.

    Two users never get the same document.
    """
    project = project_of(request)
    user = caller(request).user
    document = annotation_services.next_document(
        project=project, user=user, after=body.after, rows=annotation_services.with_open_data()
    )
    if document is None:
        return nothing()
    document.project = project
    return answer(opened_row(annotation_services.open_document(document=document, user=user), user))


@router.post("/documents/{int:pk}/open", summary="Open a document", **operation("label", OpenedOut))
def open_document(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Opens a document and locks it for ten minutes; opening it again extends the lock. `held_by` names another user
    who has it open.
    """
    document = object_of(request, annotation_services.with_open_data(), pk=pk)
    user = caller(request).user
    return answer(opened_row(annotation_services.open_document(document=document, user=user), user))


@router.post("/documents/{int:pk}/release", summary="Release a document", **operation("label", None, status=204))
def release(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Unlocks a document, so other users can open it."""
    document = object_of(request, Document.objects.only_key(), pk=pk)
    annotation_services.release_lock(document=document, user=caller(request).user)
    return nothing()


@router.put("/documents/{int:pk}/draft", summary="Save a draft", **operation("label", SavedOut, 400, 413, 422))
def save_draft(request: HttpRequest, slug: Slug, pk: int, body: SaveIn) -> HttpResponse:
    """Saves a draft, which can be invalid. Changes of other users since are merged by field."""
    project = project_of(request)
    try:
        saved = annotation_services.save_draft(**_save(project, pk, caller(request).user, body))
    except Document.DoesNotExist as error:
        raise Http404 from error
    return answer(saved_row(saved))


@router.post(
    "/documents/{int:pk}/submit", summary="Submit a label", **operation("label", SavedOut, 400, 413, also=_NOT_NOW)
)
def submit(request: HttpRequest, slug: Slug, pk: int, body: SaveIn) -> HttpResponse:
    """Submits a label. 422 if it is invalid under the schema, or if a value is not in the text or an invariant does not
    hold and `evidence` does not confirm it: `errors` has a message per field. Omitted optional fields mean that the
    document has no such value. 409 if another user changed the label, or the schema changed. In both cases the label
    is saved as a draft: `saved`.
    """
    project = project_of(request)
    try:
        saved = annotation_services.submit(**_save(project, pk, caller(request).user, body))
    except Document.DoesNotExist as error:
        raise Http404 from error
    except annotation_services.InvalidLabel as error:
        rows = problem_rows(error.problems)
        names = ", ".join(str(row["field"] or "the value") for row in rows[:3])
        detail = f"The label has errors ({names}), so it was saved as a draft and not submitted."
        raise Problem(422, detail, rows[:200], {"saved": saved_row(error.saved)}) from error
    if not saved.submitted:
        raise Problem(409, _rejection_detail(saved, body), more={"saved": saved_row(saved)})
    return answer(saved_row(saved))


def _save(project: Any, pk: int, user: User, body: SaveIn) -> dict[str, Any]:
    """The arguments of a save, with the id of the document only: the service reads the row after it locked it."""
    return {
        "document": Document(pk=pk, project=project),
        "user": user,
        "value": body.value,
        "evidence": body.evidence,
        "base_version": body.base_version,
        "seconds": body.seconds,
        "schema_number": body.schema_number,
        "prediction": body.prediction,
        "field_seconds": body.field_seconds,
    }


def _rejection_detail(saved: annotation_services.SaveResult, body: SaveIn) -> str:
    if body.schema_number not in (None, saved.schema_version.number):
        return (
            f"The current schema version is {saved.schema_version.number}. The label was saved as its draft; check it."
        )
    who = saved.merged_with or "another user"
    return f"The label was changed by {who}. The merged value was saved as a draft; check and submit it."


@router.post(
    "/documents/{int:pk}/skip", summary="Skip a document", **operation("label", None, 400, 409, 422, status=204)
)
def skip(request: HttpRequest, slug: Slug, pk: int, body: SkipIn) -> HttpResponse:
    """Removes a document from the queue, with the reason why it cannot be labeled."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    try:
        annotation_services.skip(document=document, user=caller(request).user, reason=body.reason)
    except Refused as refusal:
        raise Problem(409, str(refusal)) from refusal
    return nothing()


@router.put(
    "/documents/{int:pk}/tags", summary="Update the tags of a document", **operation("label", TagsOut, 400, 422)
)
def flag(request: HttpRequest, slug: Slug, pk: int, body: TagsIn) -> HttpResponse:
    """Sets the failure tags of a document."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    try:
        return answer({"tags": annotation_services.flag(document=document, user=caller(request).user, tags=body.tags)})
    except Refused as refusal:
        raise field_problem("tags", str(refusal)) from refusal


@router.post("/documents/{int:pk}/restore", summary="Restore a revision", **operation("label", SavedOut, 400, 409, 422))
def restore(request: HttpRequest, slug: Slug, pk: int, body: RestoreIn) -> HttpResponse:
    """Saves the value of an earlier revision as a new draft of the user."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    try:
        saved = annotation_services.restore(
            document=document,
            user=caller(request).user,
            revision_id=body.revision,
            base_version=body.base_version,
        )
    except Refused as refusal:
        raise Problem(409, str(refusal)) from refusal
    return answer(saved_row(saved))


@router.get("/documents/{int:pk}/comments", summary="List comments", **operation("read", CommentsOut))
def comments(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """The comments on a document, open and resolved."""
    document = object_of(request, Document.objects.only_key(), pk=pk)
    rows = Comment.objects.filter(document=document).select_related("user", "resolved_by").order_by("pk")
    return answer({"items": [comment_row(row) for row in rows]})


@router.post(
    "/documents/{int:pk}/comments",
    summary="Create a comment",
    **operation("label", CommentOut, 400, 422, status=201),
)
def add_comment(request: HttpRequest, slug: Slug, pk: int, body: CommentIn) -> HttpResponse:
    """Comments on a document or a field; `@name` notifies a member."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    try:
        comment = comment_services.add(document=document, user=caller(request).user, text=body.text, path=body.field)
    except Refused as refusal:
        about_field = body.field and " field" in str(refusal)
        raise field_problem("field" if about_field else "text", str(refusal)) from refusal
    return answer(comment_row(comment), 201)


@router.post(
    "/documents/{int:pk}/comments/{int:comment}/resolve",
    summary="Resolve a comment",
    **operation("label", CommentOut, 409),
)
def resolve_comment(request: HttpRequest, slug: Slug, pk: int, comment: int) -> HttpResponse:
    """Marks a comment as resolved."""
    document = object_of(request, Document.objects.only_key(), pk=pk)
    row = get_object_or_404(Comment.objects.select_related("user"), document=document, pk=comment)
    try:
        comment_services.resolve(comment=row, user=caller(request).user)
    except Refused as refusal:
        raise Problem(409, str(refusal)) from refusal
    row.refresh_from_db()
    return answer(comment_row(row))
