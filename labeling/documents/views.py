"""The page of a document, and its actions."""

from typing import Any, Final

from django.contrib import messages
from django.http import FileResponse, Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from labeling.annotation import queue, state
from labeling.annotation.diffs import document_history
from labeling.annotation.locked_document import sees_own_only
from labeling.comments import services as comment_services
from labeling.documents import bulk_edit
from labeling.documents.bulk_edit_forms import BulkForm
from labeling.documents.details import displayed_label, predictions_with_diff, related
from labeling.documents.list.choices import members
from labeling.failure_tags import tags_of
from labeling.models import Comment
from slmstudio import panels
from slmstudio.access import Action, project_for
from slmstudio.storage import artifacts
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest

_IMAGE_TYPES: Final = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}


@require_safe
def document(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """A document: text with evidence, label, history, comments, and predictions."""
    project = project_for(request.user, slug, Action.READ)
    shown = get_object_or_404(project.documents.with_assignee(), pk=pk)
    known = tags_of(project)
    own = sees_own_only(project, shown)
    label = displayed_label(project, shown, request.user, own)
    context: dict[str, Any] = {
        "project": project,
        "document": shown,
        **label,
        "own_only": own,
        "history": document_history(shown, request.user if own else None),
        "predictions": predictions_with_diff(shown, label),
        "talk": comment_services.threads(document=shown),
        **related(shown),
        "tags": [(tag, known.get(tag)) for tag in shown.tags],
        "known_tags": known,
        "members": members(project) if "curate" in project.can else [],
        "can_requeue": shown.state in state.REQUEUEABLE,
        "panels": [
            render_to_string(
                content.template, {**content.context, "project": project, "document": shown}, request=request
            )
            for content in panels.render_panels("document", shown, request.user)
            if content.template
        ],
    }
    return render(request, "labeling/documents/document.html", context)


@require_POST
def change(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Makes a change of the bulk edit form to this document, immediately."""
    row = get_object_or_404(project_for(request.user, slug, Action.CURATE).documents.without_text(), pk=pk)
    form = BulkForm({**request.POST.dict(), "of": "all"})
    if not form.is_valid():
        messages.error(request, str(next(iter(form.errors.values()))[0]))
        return redirect(row)
    with RefusalMessage(request):
        bulk_edit.change_one(document=row, user=request.user, action=form.cleaned_data["action"], params=form.params())
    return redirect(row)


@require_POST
def set_tags(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Sets the document's failure tags."""
    row = get_object_or_404(project_for(request.user, slug, Action.LABEL).documents.without_text(), pk=pk)
    with RefusalMessage(request):
        queue.flag(document=row, user=request.user, tags=request.POST.getlist("tags"))
    return redirect(row)


@require_POST
def comment(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Adds a comment, or resolves one (``settle``: its id); redirects to the page that it came from."""
    row = get_object_or_404(project_for(request.user, slug, Action.LABEL).documents.without_text(), pk=pk)
    settle = request.POST.get("settle", "")
    with RefusalMessage(request):
        if settle:
            number = int(settle) if settle.isascii() and settle.isdigit() and len(settle) < 19 else 0
            comment_services.resolve(comment=get_object_or_404(Comment, pk=number, document=row), user=request.user)
        else:
            comment_services.add(document=row, user=request.user, text=request.POST.get("text", ""))
    in_review = request.POST.get("from") == "review"
    back = reverse("review_document", args=[slug, pk]) if in_review else row.get_absolute_url()
    return redirect(f"{back}#comments")


@require_safe
def page_image(request: SignedInRequest, slug: str, pk: int, number: int) -> HttpResponseBase:
    """The image of a page."""
    project = project_for(request.user, slug, Action.READ)
    page = get_object_or_404(project.documents, pk=pk).pages.filter(number=number).first()
    content_type = _IMAGE_TYPES.get(page.image_key.rpartition(".")[2], "") if page is not None else ""
    if page is None or not content_type:
        raise Http404("This page has no image.")
    try:
        response = FileResponse(artifacts.store().open(page.image_key), content_type=content_type)
    except FileNotFoundError:
        raise Http404("The image of this page was deleted.") from None
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Disposition"] = "inline"
    return response
