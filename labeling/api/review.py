"""Review: what waits, approving, sending back, and deciding where those who labelled a document disagree."""

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.problems import Problem
from labeling.api.schemas.common import Flag, about
from labeling.api.schemas.work import (
    AdjudicateIn,
    ApproveIn,
    DocumentsOut,
    NextIn,
    RejectIn,
    ReviewedOut,
    UnderReviewOut,
)
from labeling.api.serializers import for_listing, listed, name_of, problem_rows, reviewed_row
from labeling.api.wire import answer, nothing
from labeling.models import Document, Project
from labeling.review import adjudication
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from slmstudio.errors import Refused
from slmstudio.web.paging import page

router = Router(tags=["review"])
MOST, PER_PAGE = 200, 50


@router.get("/review", summary="List what waits for review", **about("review", DocumentsOut))
def waiting(
    request: HttpRequest,
    slug: Slug,
    after: int | None = Query(None, ge=0, lt=2**63, description="the next_after of the page before"),
    limit: int = Query(PER_PAGE, ge=1, le=MOST),
    disputed: Flag = Query(False, description="those whose labels differ, instead"),
) -> HttpResponse:
    """Documents whose label waits for a reviewer, in the order they came."""
    project = project_of(request)
    rows = review_queries.pending_adjudication(project) if disputed else review_queries.pending_review(project)
    found = page(for_listing(rows), after=after, size=limit)
    following = None if found.after is None else str(found.after)
    return answer({"items": [listed(row) for row in found.rows], "next_after": following})


@router.post(
    "/review/next", summary="Take the next to review", **about("review", UnderReviewOut, 400, also={204: None})
)
def next_to_review(request: HttpRequest, slug: Slug, body: NextIn) -> HttpResponse:
    """Takes the next label that the caller may review for ten minutes; 204 where none waits."""
    project, user = project_of(request), caller(request).user
    document = review_services.next_to_review(project=project, user=user, after=body.after)
    if document is None:
        return nothing()
    document.project = project
    return answer(reviewed_row(review_services.open_review(document=document, user=user)))


@router.post("/documents/{int:pk}/review", summary="Open a review", **about("review", UnderReviewOut))
def open_review(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """The label of a certain document as a reviewer finds it; `refusal` says why there is nothing to decide."""
    document = object_of(request, Document, pk=pk)
    return answer(reviewed_row(review_services.open_review(document=document, user=caller(request).user)))


@router.post("/documents/{int:pk}/approve", summary="Approve a label", **about("review", ReviewedOut, 400, 409, 413))
def approve(request: HttpRequest, slug: Slug, pk: int, body: ApproveIn) -> HttpResponse:
    """Approves what was submitted, or with `value` what it is put right to; it is gold from then on. 409 where it
    changed meanwhile, or is not waiting for a review.
    """
    more = {} if body.value is None else {"value": body.value, "evidence": body.evidence}
    return _decide(request, pk, review_services.approve, base_version=body.base_version, **more)


@router.post("/documents/{int:pk}/reject", summary="Send a label back", **about("review", ReviewedOut, 400, 409))
def reject(request: HttpRequest, slug: Slug, pk: int, body: RejectIn) -> HttpResponse:
    """Sends a label back with a reason that its author sees."""
    return _decide(request, pk, review_services.reject, reason=body.reason, base_version=body.base_version)


@router.post(
    "/documents/{int:pk}/adjudicate", summary="Decide a disagreement", **about("review", ReviewedOut, 400, 409, 413)
)
def adjudicate(request: HttpRequest, slug: Slug, pk: int, body: AdjudicateIn) -> HttpResponse:
    """Says what counts where those who labelled a document disagree."""
    return _decide(
        request,
        pk,
        adjudication.adjudicate,
        value=body.value,
        evidence=body.evidence,
        base_version=body.base_version,
    )


def _decide(request: HttpRequest, pk: int, service: Callable[..., Any], **given: Any) -> HttpResponse:
    """Calls a service of decisions with the document's key alone: it reads the row once it holds it."""
    project: Project = project_of(request)
    document = Document(pk=pk, project=project)
    try:
        review = service(document=document, user=caller(request).user, **given)
    except review_services.InvalidLabel as error:
        rows = problem_rows(error.problems)
        raise Problem(422, "The label is not right, so nothing was decided.", rows[:200]) from error
    except Refused as refusal:
        if not Document.objects.filter(project=project, pk=pk).exists():
            raise Http404 from refusal
        raise Problem(
            403 if str(refusal) in (review_services.OWN_LABEL, adjudication.OWN_LABEL) else 409, str(refusal)
        ) from refusal
    state = Document.objects.values_list("state", flat=True).get(pk=pk)
    return answer({"id": pk, "state": state, "decision": review.decision, "reviewer": name_of(review.reviewer)})
