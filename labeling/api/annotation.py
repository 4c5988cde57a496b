"""Annotation: open, save, submit, skip and tag documents, and comments."""

from typing import Any

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from ninja import Router, Status
from pydantic import Field

from labeling.annotation import services as annotation_services
from labeling.annotation.payloads import MAX_FIELDS
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas import (
    DocumentText,
    In,
    Items,
    Json,
    Key,
    Moment,
    Number,
    Number_,
    Out,
    ProblemOut,
    Problems,
    State,
    Text,
    UserName,
    Value,
    Version,
    problem_rows,
)
from labeling.comments import services as comment_services
from labeling.form.merge import MISSING, MergeConflict
from labeling.models import Comment, Document, Review

router = Router(tags=["labeling"])


class NextIn(In):
    """The position in the queue."""

    after: Key | None = Field(
        None, description="continue after this document; default: the user's unfinished documents first"
    )


class Proposed(Out):
    """The pre-label of an open document."""

    id: int
    model: str
    value: Json
    confidence: dict[str, Any]


class RejectionOut(Out):
    """The reason of a rejection."""

    by: str
    reason: str
    at: Moment = Field(validation_alias="created_at")

    @staticmethod
    def resolve_by(review: Review) -> str:
        """The reviewer, whose account can be deleted."""
        return review.reviewer.get_username() if review.reviewer else "a reviewer"


class OpenedOut(DocumentText):
    """An open document. Send its ``version`` and ``schema_number`` with each save."""

    source: str = Field(validation_alias="document.source")
    tags: list[str] = Field(validation_alias="document.tags")
    holdout: bool = Field(validation_alias="document.holdout")
    synthetic: bool = Field(validation_alias="document.synthetic")
    skip_reason: str = Field(validation_alias="document.skip_reason")
    instruction: str
    schema_number: int = Field(validation_alias="schema_version.number")
    version: int = Field(description="send it as base_version")
    value: Json
    evidence: dict[str, Any] = Field(description="spans in the text by field path")
    submitted: bool
    author: UserName | None
    problems: Problems = Field(validation_alias="checks.problems", description="schema errors")
    warnings: Problems = Field(
        validation_alias="checks.warnings", description="violated rules, and values that are not in the text"
    )
    prediction: Proposed | None
    rejection: RejectionOut | None
    returned: str | None = Field(description="why a schema change returned it to the queue")
    open_comments: int
    own_only: bool = Field(validation_alias="is_blind", description="true if several annotators label it independently")
    held_by: UserName | None = Field(validation_alias="locked_by_other", description="another user who has it open")
    url: str = Field(validation_alias="document.get_absolute_url")

    @staticmethod
    def resolve_submitted(opened: annotation_services.OpenDocument) -> bool:
        """Whether the label is."""
        return bool(opened.annotation and opened.annotation.submitted)

    @staticmethod
    def resolve_returned(opened: annotation_services.OpenDocument) -> str | None:
        """A sentence."""
        return opened.document.requeue_reason or None


class SaveIn(In):
    """A label."""

    value: Value = Field(description="the whole value under the schema")
    base_version: Version = Field(description="the version that it is based on; 0 for the first")
    schema_number: Number_ | None = Field(None, description="the schema version of the value; default: the newest")
    evidence: dict[str, Any] = Field({}, max_length=5_000)
    seconds: Number = Field(0, ge=0, le=86_400, description="seconds since the last save")
    field_seconds: dict[str, Number] = Field({}, max_length=MAX_FIELDS)
    prediction: Key | None = Field(None, description="the pre-label that it is based on")


class ClashOut(Out):
    """A field that two users changed; the value of this request stays."""

    field: str = Field(validation_alias="path")
    theirs: Json = None
    absent: bool = Field(description="the other user removed it")

    @staticmethod
    def resolve_theirs(conflict: MergeConflict) -> Any:
        """Null if it is absent."""
        return None if conflict.theirs is MISSING else conflict.theirs

    @staticmethod
    def resolve_absent(conflict: MergeConflict) -> bool:
        """Tells it from null."""
        return conflict.theirs is MISSING


class SavedOut(Out):
    """The result of a save. ``merged``: fields with the values of another user who changed them since."""

    version: int = Field(description="send it as base_version of the next save")
    schema_number: int = Field(validation_alias="schema_version.number")
    state: State
    submitted: bool
    approved: bool
    value: Json
    valid: bool = Field(validation_alias="checks.valid")
    problems: Problems = Field(validation_alias="checks.problems")
    warnings: Problems = Field(validation_alias="checks.warnings")
    merged: list[str]
    merged_with: str
    clashes: list[ClashOut] = Field(validation_alias="conflicts")


class NotSubmittedOut(ProblemOut):
    """Why a label was not submitted. It was saved as a draft: ``saved``."""

    saved: SavedOut | None = None


class SkipIn(In):
    """Why a document cannot be labeled."""

    reason: Text = Field(min_length=1, max_length=300)


class TagsIn(In):
    """The failure tags of a document."""

    tags: list[Text] = Field(max_length=100)


class TagsOut(Out):
    """The tags in the order of the vocabulary."""

    tags: list[str]


class RestoreIn(In):
    """The revision to restore."""

    revision: Key
    base_version: Version


class CommentIn(In):
    """A comment on a document or field."""

    text: Text = Field(min_length=1, max_length=4_000)
    field: Text = Field(
        "", max_length=300, description="a path, for example line_items[0].amount; default: the document"
    )


class CommentOut(Out):
    """A comment."""

    id: int
    user: UserName | None
    field: str = Field(validation_alias="path")
    text: str
    created_at: Moment
    resolved_at: Moment | None
    resolved_by: UserName | None


_NOT_NOW = {409: NotSubmittedOut, 422: NotSubmittedOut}


@router.post(
    "/queue/next",
    summary="Open the next document",
    **operation("label", OpenedOut, 400, also={204: None}, is_sparse=True),
)
def next_document(request: HttpRequest, slug: Slug, body: NextIn) -> Any:
    """Opens the next document of the user's queue and locks it for ten minutes; 204 if the queue is empty.

    Two users never get the same document.
    """
    project = project_of(request)
    user = caller(request).user
    document = annotation_services.next_document(
        project=project, user=user, after=body.after, rows=annotation_services.with_open_data()
    )
    if document is None:
        return HttpResponse(status=204)
    document.project = project
    return Status(200, annotation_services.open_document(document=document, user=user))


@router.post("/documents/{int:pk}/open", summary="Open a document", **operation("label", OpenedOut, is_sparse=True))
def open_document(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Opens a document and locks it for ten minutes; opening it again extends the lock. `held_by` names another user
    who has it open.
    """
    document = object_of(request, annotation_services.with_open_data(), pk=pk)
    return annotation_services.open_document(document=document, user=caller(request).user)


@router.post("/documents/{int:pk}/release", summary="Release a document", **operation("label", None, status=204))
def release(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Unlocks a document, so other users can open it."""
    document = object_of(request, Document.objects.only_key(), pk=pk)
    annotation_services.release_lock(document=document, user=caller(request).user)
    return HttpResponse(status=204)


@router.put(
    "/documents/{int:pk}/draft", summary="Save a draft", **operation("label", SavedOut, 400, 413, is_sparse=True)
)
def save_draft(request: HttpRequest, slug: Slug, pk: int, body: SaveIn) -> Any:
    """Saves a draft, which can be invalid. Changes of other users since are merged by field."""
    project = project_of(request)
    try:
        return annotation_services.save_draft(**_save(project, pk, caller(request).user, body))
    except Document.DoesNotExist as error:
        raise Http404 from error


@router.post(
    "/documents/{int:pk}/submit",
    summary="Submit a label",
    **operation("label", SavedOut, 400, 413, also=_NOT_NOW, is_sparse=True),
)
def submit(request: HttpRequest, slug: Slug, pk: int, body: SaveIn) -> Any:
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
        raise Problem(422, detail, rows[:200], _saved(error.saved)) from error
    if not saved.submitted:
        raise Problem(409, _rejection_detail(saved, body), more=_saved(saved))
    return saved


def _saved(saved: annotation_services.SaveResult) -> dict[str, Any]:
    return {"saved": SavedOut.model_validate(saved).model_dump(exclude_unset=True)}


def _save(project: Any, pk: int, user: User, body: SaveIn) -> dict[str, Any]:
    """The arguments of a save, with the id of the document only: the service reads the row after it locked it."""
    return {"document": Document(pk=pk, project=project), "user": user, **body.model_dump()}


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
def skip(request: HttpRequest, slug: Slug, pk: int, body: SkipIn) -> Any:
    """Removes a document from the queue, with the reason why it cannot be labeled."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    annotation_services.skip(document=document, user=caller(request).user, reason=body.reason)
    return HttpResponse(status=204)


@router.put(
    "/documents/{int:pk}/tags", summary="Update the tags of a document", **operation("label", TagsOut, 400, 422)
)
def flag(request: HttpRequest, slug: Slug, pk: int, body: TagsIn) -> Any:
    """Sets the failure tags of a document."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    return {"tags": annotation_services.flag(document=document, user=caller(request).user, tags=body.tags)}


@router.post(
    "/documents/{int:pk}/restore",
    summary="Restore a revision",
    **operation("label", SavedOut, 400, 409, is_sparse=True),
)
def restore(request: HttpRequest, slug: Slug, pk: int, body: RestoreIn) -> Any:
    """Saves the value of an earlier revision as a new draft of the user."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    return annotation_services.restore(
        document=document, user=caller(request).user, revision_id=body.revision, base_version=body.base_version
    )


@router.get("/documents/{int:pk}/comments", summary="List comments", **operation("read", Items[CommentOut]))
def comments(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """The comments on a document, open and resolved."""
    document = object_of(request, Document.objects.only_key(), pk=pk)
    return {"items": document.comments.select_related("user", "resolved_by").order_by("pk")}


@router.post(
    "/documents/{int:pk}/comments",
    summary="Create a comment",
    **operation("label", CommentOut, 400, 422, status=201),
)
def add_comment(request: HttpRequest, slug: Slug, pk: int, body: CommentIn) -> Any:
    """Comments on a document or a field; `@name` notifies a member."""
    document = object_of(request, Document.objects.without_text(), pk=pk)
    user = caller(request).user
    return Status(201, comment_services.add(document=document, user=user, text=body.text, path=body.field))


@router.post(
    "/documents/{int:pk}/comments/{int:comment}/resolve",
    summary="Resolve a comment",
    **operation("label", CommentOut),
)
def resolve_comment(request: HttpRequest, slug: Slug, pk: int, comment: int) -> Any:
    """Marks a comment as resolved."""
    document = object_of(request, Document.objects.only_key(), pk=pk)
    row: Comment = get_object_or_404(document.comments.select_related("user"), pk=comment)
    return comment_services.resolve(comment=row, user=caller(request).user)
