"""Review: list, approve, reject and adjudicate labels."""

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas.annotation import NextIn
from labeling.api.schemas.base import Flag
from labeling.api.schemas.documents import DocumentsOut
from labeling.api.schemas.review import AdjudicateIn, ApproveIn, RejectIn, ReviewedOut, UnderReviewOut
from labeling.api.serializers import for_listing, listed, name_of, problem_rows, reviewed_row
from labeling.api.wire import answer, nothing
from labeling.models import Document, Project
from labeling.review import adjudication
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from slmstudio.errors import Refused
from slmstudio.web.paging import page

router = Router(tags=["review"])
MAX_PAGE_SIZE, PER_PAGE = 200, 50


@router.get("/review", summary="List labels to review", **operation("review", DocumentsOut))
def waiting(
    request: HttpRequest,
    slug: Slug,
    after: int | None = Query(None, ge=0, lt=2**63, description="next_after of the previous response"),
    limit: int = Query(PER_PAGE, ge=1, le=MAX_PAGE_SIZE),
    disputed: Flag = Query(False, description="documents with conflicting labels instead"),
) -> HttpResponse:
    """Documents whose label needs a review, oldest first."""
    project = project_of(request)
    rows = review_queries.pending_adjudication(project) if disputed else review_queries.pending_review(project)
    listing = page(for_listing(rows), after=after, size=limit)
    following = None if listing.after is None else str(listing.after)
    return answer({"items": [listed(row) for row in listing.rows], "next_after": following})


@router.post(
    "/review/next",
    summary="Open the next label to review",
    **operation("review", UnderReviewOut, 400, also={204: None}),
)
def next_to_review(request: HttpRequest, slug: Slug, body: NextIn) -> HttpResponse:
    """Opens the next label that the user can review and locks it for ten minutes; 204 if there is none."""
    project, user = project_of(request), caller(request).user
    document = review_services.next_to_review(project=project, user=user, after=body.after)
    if document is None:
        return nothing()
    document.project = project
    return answer(reviewed_row(review_services.open_review(document=document, user=user)))


@router.post("/documents/{int:pk}/review", summary="Open a review", **operation("review", UnderReviewOut))
def open_review(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """The label of a document for review; `refusal` says why it cannot be decided."""
    document = object_of(request, Document, pk=pk)
    return answer(reviewed_row(review_services.open_review(document=document, user=caller(request).user)))


@router.post(
    "/documents/{int:pk}/approve", summary="Approve a label", **operation("review", ReviewedOut, 400, 409, 413)
)
def approve(request: HttpRequest, slug: Slug, pk: int, body: ApproveIn) -> HttpResponse:
    """Approves the submitted label, or with `value` a corrected one; it becomes the gold label. 409 if the label
    changed or does not need a review.
    """
    more = {} if body.value is None else {"value": body.value, "evidence": body.evidence}
    return _decide(request, pk, review_services.approve, base_version=body.base_version, **more)


@router.post("/documents/{int:pk}/reject", summary="Reject a label", **operation("review", ReviewedOut, 400, 409))
def reject(request: HttpRequest, slug: Slug, pk: int, body: RejectIn) -> HttpResponse:
    """Returns a label to its author with a reason."""
    return _decide(request, pk, review_services.reject, reason=body.reason, base_version=body.base_version)


@router.post(
    "/documents/{int:pk}/adjudicate", summary="Adjudicate a conflict", **operation("review", ReviewedOut, 400, 409, 413)
)
def adjudicate(request: HttpRequest, slug: Slug, pk: int, body: AdjudicateIn) -> HttpResponse:
    """Sets the final label of a document with conflicting labels."""
    return _decide(
        request,
        pk,
        adjudication.adjudicate,
        value=body.value,
        evidence=body.evidence,
        base_version=body.base_version,
    )


def _decide(request: HttpRequest, pk: int, service: Callable[..., Any], **values: Any) -> HttpResponse:
    """Calls a service with the id of the document only: the service reads the row after it locked it."""
    project: Project = project_of(request)
    document = Document(pk=pk, project=project)
    try:
        review = service(document=document, user=caller(request).user, **values)
    except review_services.InvalidLabel as error:
        rows = problem_rows(error.problems)
        raise Problem(422, "The label is invalid, so nothing was decided.", rows[:200]) from error
    except Refused as refusal:
        if not Document.objects.filter(project=project, pk=pk).exists():
            raise Http404 from refusal
        raise Problem(
            403 if str(refusal) in (review_services.OWN_LABEL, adjudication.OWN_LABEL) else 409, str(refusal)
        ) from refusal
    state = Document.objects.values_list("state", flat=True).get(pk=pk)
    return answer({"id": pk, "state": state, "decision": review.decision, "reviewer": name_of(review.reviewer)})
