"""Labeling: taking a document from the queue, saving, submitting, putting aside, talking about it."""

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Router

from labeling.annotation import services as annotation_services
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.common import about
from labeling.api.schemas.work import (
    CommentIn,
    CommentOut,
    CommentsOut,
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
from labeling.api.serializers import comment_row, opened_row, problem_rows, saved_row
from labeling.api.wire import answer, nothing
from labeling.comments import services as comment_services
from labeling.models import Comment, Document
from slmstudio.errors import Refused

router = Router(tags=["labeling"])
_NOT_NOW = {409: NotSubmittedOut, 422: NotSubmittedOut}


@router.post("/queue/next", summary="Take the next document", **about("label", OpenedOut, 400, also={204: None}))
def next_document(request: HttpRequest, slug: Slug, body: NextIn) -> HttpResponse:
    """Takes the next document of the caller's queue for ten minutes and opens it; 204 where nothing waits.

    Two callers never get the same one.
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


@router.post("/documents/{int:pk}/open", summary="Open a document", **about("label", OpenedOut))
def open_document(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Opens a document and holds it for ten minutes; asked again, it is held on. `held_by` names who else does."""
    document = object_of(request, annotation_services.with_open_data(), pk=pk)
    user = caller(request).user
    return answer(opened_row(annotation_services.open_document(document=document, user=user), user))


@router.post("/documents/{int:pk}/release", summary="Let a document go", **about("label", None, status=204))
def release(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Lets a document go that the caller holds, so that others get it."""
    document = object_of(request, Document.objects.only("pk", "project"), pk=pk)
    annotation_services.release_lock(document=document, user=caller(request).user)
    return nothing()


@router.put("/documents/{int:pk}/draft", summary="Save a draft", **about("label", SavedOut, 400, 413, 422))
def save_draft(request: HttpRequest, slug: Slug, pk: int, body: SaveIn) -> HttpResponse:
    """Saves what there is so far; it may be invalid. What others saved meanwhile is merged, field by field."""
    project = project_of(request)
    try:
        saved = annotation_services.save_draft(**_save(project, pk, caller(request).user, body))
    except Document.DoesNotExist as error:
        raise Http404 from error
    return answer(saved_row(saved))


@router.post(
    "/documents/{int:pk}/submit", summary="Submit a label", **about("label", SavedOut, 400, 413, also=_NOT_NOW)
)
def submit(request: HttpRequest, slug: Slug, pk: int, body: SaveIn) -> HttpResponse:
    """Submits a label. 422 where the schema rejects it, or a value is not in the text, or a rule between fields is
    broken, and `evidence` does not confirm that: `errors` has a sentence per field. Optional fields left out are
    answered: they are not in the document. 409 where others changed it, or the schema is another by now. In both cases
    it is kept as a draft: `saved`.
    """
    project = project_of(request)
    try:
        saved = annotation_services.submit(**_save(project, pk, caller(request).user, body))
    except Document.DoesNotExist as error:
        raise Http404 from error
    except annotation_services.InvalidLabel as error:
        rows = problem_rows(error.problems)
        many = f"{len(rows)} fields are" if len(rows) != 1 else f"{rows[0]['field'] or 'The value'} is"
        detail = f"{many} not right, so it was not submitted. It was kept as a draft."
        raise Problem(422, detail, rows[:200], {"saved": saved_row(error.saved)}) from error
    if not saved.submitted:
        raise Problem(409, _why_not(saved, body), more={"saved": saved_row(saved)})
    return answer(saved_row(saved))


def _save(project: Any, pk: int, user: User, body: SaveIn) -> dict[str, Any]:
    """What a save is called with. Only the document's key: the service reads the row once it holds it."""
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


def _why_not(saved: annotation_services.SaveResult, body: SaveIn) -> str:
    if body.schema_number not in (None, saved.schema_version.number):
        return f"The schema is number {saved.schema_version.number} by now. It was kept as a draft of that; look at it."
    who = saved.merged_with or "somebody else"
    return (
        f"The document was changed by {who} meanwhile. The merged value was kept as a draft; look at it and submit it."
    )


@router.post("/documents/{int:pk}/skip", summary="Skip a document", **about("label", None, 400, 409, 422, status=204))
def skip(request: HttpRequest, slug: Slug, pk: int, body: SkipIn) -> HttpResponse:
    """Takes a document out of the queue, with the reason why it cannot be labelled."""
    document = object_of(request, Document.objects.defer("text"), pk=pk)
    try:
        annotation_services.skip(document=document, user=caller(request).user, reason=body.reason)
    except Refused as refusal:
        raise Problem(409, str(refusal)) from refusal
    return nothing()


@router.put("/documents/{int:pk}/tags", summary="Flag a document", **about("label", TagsOut, 400, 422))
def flag(request: HttpRequest, slug: Slug, pk: int, body: TagsIn) -> HttpResponse:
    """Sets the failure tags of a document."""
    document = object_of(request, Document.objects.defer("text"), pk=pk)
    try:
        return answer({"tags": annotation_services.flag(document=document, user=caller(request).user, tags=body.tags)})
    except Refused as refusal:
        raise field_problem("tags", str(refusal)) from refusal


@router.post("/documents/{int:pk}/restore", summary="Go back to a revision", **about("label", SavedOut, 400, 409, 422))
def restore(request: HttpRequest, slug: Slug, pk: int, body: RestoreIn) -> HttpResponse:
    """Writes what an old revision said as a new draft of the caller; it counts once it is submitted."""
    document = object_of(request, Document.objects.defer("text"), pk=pk)
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


@router.get("/documents/{int:pk}/comments", summary="Read comments", **about("read", CommentsOut))
def comments(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """What people said about a document, open and settled."""
    document = object_of(request, Document.objects.only("pk", "project"), pk=pk)
    rows = Comment.objects.filter(document=document).select_related("user", "resolved_by").order_by("pk")
    return answer({"items": [comment_row(row) for row in rows]})


@router.post(
    "/documents/{int:pk}/comments", summary="Comment on a document", **about("label", CommentOut, 400, 422, status=201)
)
def add_comment(request: HttpRequest, slug: Slug, pk: int, body: CommentIn) -> HttpResponse:
    """Says something about a document or a field; `@name` tells a member."""
    document = object_of(request, Document.objects.defer("text"), pk=pk)
    try:
        comment = comment_services.add(document=document, user=caller(request).user, text=body.text, path=body.field)
    except Refused as refusal:
        about_field = body.field and " field" in str(refusal)
        raise field_problem("field" if about_field else "text", str(refusal)) from refusal
    return answer(comment_row(comment), 201)


@router.post(
    "/documents/{int:pk}/comments/{int:comment}/resolve",
    summary="Settle a comment",
    **about("label", CommentOut, 409),
)
def resolve_comment(request: HttpRequest, slug: Slug, pk: int, comment: int) -> HttpResponse:
    """Marks a comment as settled."""
    document = object_of(request, Document.objects.only("pk", "project"), pk=pk)
    row = get_object_or_404(Comment.objects.select_related("user"), document=document, pk=comment)
    try:
        comment_services.resolve(comment=row, user=caller(request).user)
    except Refused as refusal:
        raise Problem(409, str(refusal)) from refusal
    row.refresh_from_db()
    return answer(comment_row(row))
