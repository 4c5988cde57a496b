"""Review pages: the list of pending reviews and conflicts, one label or conflict, and the decisions."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models.functions import Left
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST, require_safe

from labeling.annotation.diffs import field_changes
from labeling.annotation.payloads import PayloadError, Position, parse
from labeling.comments import services as comment_services
from labeling.failure_tags import tags_of
from labeling.form.highlights import highlight
from labeling.form.tree import form_for, tree_of
from labeling.models import Document, Project
from labeling.review import adjudication, queries, services
from labeling.review.forms import ConflictForm, RejectForm
from slmstudio.access import Action, Role, may, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.paging import count, key_of, page
from slmstudio.web.requests import SignedInRequest

SHOW_DISPUTED = "disputed"


@require_safe
def review(request: SignedInRequest, slug: str) -> HttpResponse:
    """Labels to review; with ``?show=disputed``, documents to adjudicate. Annotators see those that they labeled."""
    project = project_for(request.user, slug, Action.READ)
    disputes = request.GET.get("show") == SHOW_DISPUTED
    labels, disputed = queries.pending_review(project), queries.pending_adjudication(project)
    only_own = project.role == Role.ANNOTATOR
    if only_own:
        labels, disputed = queries.labeled_by(labels, request.user), queries.labeled_by(disputed, request.user)
    rows = disputed if disputes else queries.with_authors(labels)
    shown = page(
        rows.only("external_id", "state", "overlap", "project").annotate(beginning=Left("text", 160)),
        after=key_of(request.GET.get("after")),
        before=key_of(request.GET.get("before")),
    )
    if disputes:
        queries.with_annotators(shown.rows)
    context = {
        "project": project,
        "disputes": disputes,
        "page": shown,
        "labels_count": count(labels),
        "disputes_count": count(disputed),
        "only_own": only_own,
        "last": _last_decision(project, request.user),
        "unread": comment_services.unread_count(project=project, user=request.user),
    }
    return render(request, "labeling/review/list.html", context)


@require_GET
def review_next(request: SignedInRequest, slug: str) -> HttpResponse:
    """Redirects to the next label to review or conflict to adjudicate, or to the list without one."""
    project = project_for(request.user, slug, Action.REVIEW)
    after = key_of(request.GET.get("after"))
    disputes = request.GET.get("show") == SHOW_DISPUTED
    find = adjudication.next_to_adjudicate if disputes else services.next_to_review
    document = find(project=project, user=request.user, after=after)
    if document is None:
        return redirect(_list_url(slug, disputes))
    return redirect("review_document", slug, document.pk)


@require_POST
def review_onward(request: SignedInRequest, slug: str) -> HttpResponse:
    """Where the labeling screen continues after a fix, ``{"after": id}``: the next review. Locks nothing."""
    project_for(request.user, slug, Action.REVIEW)
    try:
        after = parse(Position, request.body).after
    except PayloadError as error:
        return JsonResponse({"message": str(error)}, status=400)
    return JsonResponse({"done": True, "url": f"{reverse('review_next', args=[slug])}?{urlencode({'after': after})}"})


def _last_decision(project: Project, user: User) -> dict[str, Any] | None:
    """The decision that a reviewer just made, and whether they can undo it."""
    if not may(project.role, Action.REVIEW):
        return None
    review = queries.last_decision(project, user)
    return None if review is None else {"review": review, "can_undo": services.can_undo(review, user)}


def _list_url(slug: str, disputes: bool) -> str:
    return reverse("review", args=[slug]) + (f"?show={SHOW_DISPUTED}" if disputes else "")


def _next_url(slug: str, document: Document, disputes: bool) -> str:
    query = {"after": document.pk, **({"show": SHOW_DISPUTED} if disputes else {})}
    return f"{reverse('review_next', args=[slug])}?{urlencode(query)}"


@require_safe
def review_document(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """One label next to its document, or the conflict between several."""
    project, document = object_for(request.user, slug, Action.REVIEW, Document, pk=pk)
    if document.disputed:
        opened = adjudication.open_adjudication(document=document, user=request.user)
        return _conflict_page(request, project, opened, ConflictForm(opened))
    return _label_page(request, project, document, RejectForm())


def _label_page(
    request: SignedInRequest, project: Project, document: Document, form: RejectForm, status: int = 200
) -> HttpResponse:
    opened = services.open_review(document=document, user=request.user)
    compiled = opened.schema_version.compiled
    revision = opened.revision
    last = opened.reviews[0] if opened.reviews else None
    context: dict[str, Any] = {
        **_document_context(request.user, project, document, opened.checks.evidence, opened.schema_version),
        "opened": opened,
        "form": form_for(compiled, revision.value, read_only=True, problems=opened.checks.problems)
        if revision
        else None,
        "since": field_changes(compiled.ordered(last.revision.value), compiled.ordered(revision.value))[:40]
        if last is not None and revision is not None
        else None,
        "position": None if opened.refusal else queries.position(project, request.user, document, disputed=False),
        "reject": form,
        "next_url": _next_url(project.slug, document, disputes=False),
    }
    return render(request, "labeling/review/document.html", context, status=status)


def _document_context(
    user: User, project: Project, document: Document, evidence: dict[str, Any], version: Any
) -> dict[str, Any]:
    """The context of both pages for the document."""
    known = tags_of(project)
    return {
        "project": project,
        "document": document,
        "last": _last_decision(project, user),
        "pieces": highlight(document.text, evidence, tree_of(version.compiled)).pieces,
        "pages": document.pages.exclude(image_key="").order_by("number")[:100] if document.page_count else [],
        "tags": [known[tag].title if tag in known else tag for tag in document.tags],
        "comments": [thread for thread in comment_services.threads(document=document) if thread.resolved_at is None],
    }


def _conflict_page(
    request: SignedInRequest,
    project: Project,
    opened: adjudication.AdjudicationDocument,
    form: ConflictForm,
    status: int = 200,
) -> HttpResponse:
    compiled = opened.schema_version.compiled
    context: dict[str, Any] = {
        **_document_context(
            request.user, project, opened.document, opened.evidence(form.conflicts), opened.schema_version
        ),
        "position": queries.position(project, request.user, opened.document, disputed=True),
        "opened": opened,
        "form": form,
        "agreed": form_for(compiled, form.conflicts.value, read_only=True) if opened.labels else None,
        "next_url": _next_url(project.slug, opened.document, disputes=True),
    }
    return render(request, "labeling/review/conflict.html", context, status=status)


@require_POST
def review_approve(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Approves the label and redirects to the next one."""
    _, document = object_for(request.user, slug, Action.REVIEW, Document, pk=pk)
    version = key_of(request.POST.get("version")) or 0
    with RefusalMessage(request):
        services.approve(document=document, user=request.user, base_version=version)
        return redirect(_next_url(slug, document, disputes=False))
    return redirect("review_document", slug, pk)


@require_POST
def review_undo(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Undoes the user's approval (``review``: its id) and opens the document again."""
    _, document = object_for(request.user, slug, Action.REVIEW, Document, pk=pk)
    decision = get_object_or_404(document.reviews, pk=key_of(request.POST.get("review")))
    decision.document = document
    with RefusalMessage(request):
        services.undo_approval(review=decision, user=request.user)
    return redirect("review_document", slug, pk)


@require_POST
def review_reject(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Rejects the label with a reason and redirects to the next one."""
    project, document = object_for(request.user, slug, Action.REVIEW, Document, pk=pk)
    disputed = document.disputed
    form = RejectForm(request.POST)
    if not form.is_valid():
        if disputed:
            messages.error(request, services.NO_REASON)
            return redirect("review_document", slug, pk)
        return _label_page(request, project, document, form, status=422)
    data = form.cleaned_data
    with RefusalMessage(request):
        services.reject(
            document=document, user=request.user, reason=data["reason"], base_version=data["version"] or None
        )
        return redirect(_next_url(slug, document, disputes=disputed))
    return redirect("review_document", slug, pk)


@require_POST
def review_adjudicate(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Stores the resulting label as gold and redirects to the next conflict."""
    project, document = object_for(request.user, slug, Action.REVIEW, Document, pk=pk)
    opened = adjudication.open_adjudication(document=document, user=request.user)
    version = key_of(request.POST.get("version"))
    if opened.refusal or version != opened.version:
        messages.error(request, opened.refusal or "A label has changed. Reload the page and decide again.")
        return redirect("review_document", slug, pk)
    form = ConflictForm(opened, request.POST)
    if not form.is_complete:
        return _conflict_page(request, project, opened, form, status=422)
    try:
        adjudication.adjudicate(
            document=document,
            user=request.user,
            value=form.conflicts.value,
            evidence=form.evidence,
            base_version=version,
        )
    except services.InvalidLabel as invalid:
        form.add_problems(invalid.problems)
        return _conflict_page(request, project, opened, form, status=422)
    except Refused as refused:
        messages.error(request, str(refused))
        return redirect("review_document", slug, pk)
    return redirect(_next_url(slug, document, disputes=True))
