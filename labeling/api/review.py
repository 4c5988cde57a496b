"""Review: list, approve, reject and adjudicate labels."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import Field, StringConstraints

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.annotation import NextIn
from labeling.api.documents import MAX_PAGE_SIZE, DocumentsOut, for_listing
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas import (
    PER_PAGE,
    DocumentText,
    Flag,
    In,
    Json,
    Out,
    Problems,
    State,
    Text,
    UserName,
    Value,
    Version,
    problem_rows,
)
from labeling.models import Document, Project
from labeling.review import adjudication
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from slmstudio.errors import Refused
from slmstudio.web.paging import page

router = Router(tags=["review"])


class ApproveIn(In):
    """An approval; with ``value`` the label is corrected first."""

    base_version: Version
    value: Json = Field(None, description="default: the submitted value")
    evidence: dict[str, Any] = Field({}, max_length=5_000)


class RejectIn(In):
    """The reason of a rejection, for the author of the label."""

    reason: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(min_length=1, max_length=1_000)
    base_version: Version | None = Field(None, description="the version that was reviewed; default: any")


class AdjudicateIn(In):
    """The final label of a document with conflicting labels."""

    value: Value
    base_version: Version
    evidence: dict[str, Any] = Field({}, max_length=5_000)


class UnderReviewOut(DocumentText):
    """A label under review."""

    schema_number: int = Field(validation_alias="schema_version.number")
    version: int = Field(description="send it as base_version of the decision")
    value: Json
    evidence: dict[str, Any]
    author: UserName | None = Field(description="null for an import")
    problems: Problems = Field(validation_alias="checks.problems")
    warnings: Problems = Field(validation_alias="checks.warnings")
    refusal: str = Field(description="why the user cannot decide; empty if they can")
    held_by: UserName | None

    @staticmethod
    def resolve_value(opened: review_services.ReviewDocument) -> Any:
        """Empty without a label."""
        return {} if opened.revision is None else opened.schema_version.compiled.ordered(opened.revision.value)

    @staticmethod
    def resolve_evidence(opened: review_services.ReviewDocument) -> dict[str, Any]:
        """Empty without a label."""
        return {} if opened.revision is None else opened.revision.evidence


class ReviewedOut(Out):
    """The new state of the document."""

    id: int
    state: State
    decision: Literal["approve", "fix", "reject", "adjudicate"]
    reviewer: UserName | None


@router.get("/review", summary="List labels to review", **operation("review", DocumentsOut))
def waiting(
    request: HttpRequest,
    slug: Slug,
    after: int | None = Query(None, ge=0, lt=2**63, description="next_after of the previous response"),
    limit: int = Query(PER_PAGE, ge=1, le=MAX_PAGE_SIZE),
    disputed: Flag = Query(False, description="documents with conflicting labels instead"),
) -> Any:
    """Documents whose label needs a review, oldest first."""
    project = project_of(request)
    rows = review_queries.pending_adjudication(project) if disputed else review_queries.pending_review(project)
    listing = page(for_listing(rows), after=after, size=limit)
    return {"items": listing.rows, "next_after": None if listing.after is None else str(listing.after)}


@router.post(
    "/review/next",
    summary="Open the next label to review",
    **operation("review", UnderReviewOut, 400, also={204: None}, is_sparse=True),
)
def next_to_review(request: HttpRequest, slug: Slug, body: NextIn) -> Any:
    """Opens the next label that the user can review and locks it for ten minutes; 204 if there is none."""
    project, user = project_of(request), caller(request).user
    document = review_services.next_to_review(project=project, user=user, after=body.after)
    if document is None:
        return HttpResponse(status=204)
    document.project = project
    return Status(200, review_services.open_review(document=document, user=user))


@router.post(
    "/documents/{int:pk}/review", summary="Open a review", **operation("review", UnderReviewOut, is_sparse=True)
)
def open_review(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """The label of a document for review; `refusal` says why it cannot be decided."""
    return review_services.open_review(document=object_of(request, Document, pk=pk), user=caller(request).user)


@router.post(
    "/documents/{int:pk}/approve", summary="Approve a label", **operation("review", ReviewedOut, 400, 409, 413)
)
def approve(request: HttpRequest, slug: Slug, pk: int, body: ApproveIn) -> Any:
    """Approves the submitted label, or with `value` a corrected one; it becomes the gold label. 409 if the label
    changed or does not need a review.
    """
    more = {} if body.value is None else {"value": body.value, "evidence": body.evidence}
    return _decide(request, pk, review_services.approve, base_version=body.base_version, **more)


@router.post("/documents/{int:pk}/reject", summary="Reject a label", **operation("review", ReviewedOut, 400, 409))
def reject(request: HttpRequest, slug: Slug, pk: int, body: RejectIn) -> Any:
    """Returns a label to its author with a reason."""
    return _decide(request, pk, review_services.reject, **body.model_dump())


@router.post(
    "/documents/{int:pk}/adjudicate", summary="Adjudicate a conflict", **operation("review", ReviewedOut, 400, 409, 413)
)
def adjudicate(request: HttpRequest, slug: Slug, pk: int, body: AdjudicateIn) -> Any:
    """Sets the final label of a document with conflicting labels."""
    return _decide(request, pk, adjudication.adjudicate, **body.model_dump())


def _decide(request: HttpRequest, pk: int, service: Callable[..., Any], **values: Any) -> Any:
    """Calls a service with the id of the document only: the service reads the row after it locked it."""
    project: Project = project_of(request)
    try:
        review = service(document=Document(pk=pk, project=project), user=caller(request).user, **values)
    except review_services.InvalidLabel as error:
        rows = problem_rows(error.problems)
        raise Problem(422, "The label is invalid, so nothing was decided.", rows[:200]) from error
    except Refused as refusal:
        if not project.documents.filter(pk=pk).exists():
            raise Http404 from refusal
        raise
    state = project.documents.values_list("state", flat=True).get(pk=pk)
    return {"id": pk, "state": state, "decision": review.decision, "reviewer": review.reviewer}
