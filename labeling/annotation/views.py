"""The labeling screen: its page, and the requests it makes while a person works."""

from typing import Any

from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from labeling.annotation import payloads, presence, services, shortcuts
from labeling.annotation.diffs import document_history
from labeling.annotation.locked_document import is_blind_overlap, sees_own_only, with_decision
from labeling.annotation.payloads import PayloadError, ValueSyntaxError
from labeling.annotation.screen_state import document_state, save_state, tag_titles
from labeling.failure_tags import tags_of
from labeling.form.codec import ABSENT
from labeling.form.tree import bind, tree_of
from labeling.models import Document
from slmstudio.access import Action, object_for, project_for
from slmstudio.accounts.sessions import sent_by_page
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

SKIP_REASONS = (
    "Wrong kind of document",
    "Unreadable",
    "Duplicate",
    "Wrong language",
    "Contains sensitive data",
)


@require_GET
def label(request: SignedInRequest, slug: str) -> HttpResponse:
    """Redirects to the next document of the user's queue, or shows that it is empty."""
    project = project_for(request.user, slug, Action.LABEL)
    document = services.next_document(project=project, user=request.user)
    if document is None:
        return render(request, "labeling/annotation/done.html", {"project": project})
    return HttpResponseRedirect(reverse("label_document", args=[slug, document.pk]))


@require_GET
def label_document(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The labeling screen with one document."""
    project, document = object_for(request.user, slug, Action.LABEL, services.with_open_data(), pk=pk)
    opened = services.open_document(document=document, user=request.user)
    node = tree_of(opened.schema_version.compiled)
    mine = shortcuts.for_user(request.user)
    bound = shortcuts.bindings(mine.keys)
    reviewing = "review" in request.GET and "review" in project.can
    context = {
        "project": project,
        "document": document,
        # Empty: the script fills it from the state, as for every later document.
        "form": bind(node, ABSENT),
        "state": document_state(opened, request.user),
        "instruction": opened.instruction,
        # After a fix from a review, the reviews follow.
        "next_url": reverse("review_onward" if reviewing else "label_next", args=[slug]),
        "failure_tags": tags_of(project),
        "skip_reasons": SKIP_REASONS,
        "exceptions_only": mine.exceptions_only,
        "bindings": bound,
        "hints": {name: " ".join(shortcuts.parts(chords[0])) for name, chords in bound.items()},
    }
    return render(request, "labeling/annotation/screen.html", context)


@require_GET
def state(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The state of one document for the screen, as JSON."""
    _, document = object_for(request.user, slug, Action.LABEL, services.with_open_data(), pk=pk)
    return JsonResponse(document_state(services.open_document(document=document, user=request.user), request.user))


@require_POST
def neighbor(request: SignedInRequest, slug: str) -> HttpResponse:
    """The document after another (``{"after": id}``; locked for the user) or before it; ``{"done": true}``: none."""
    project = project_for(request.user, slug, Action.LABEL)
    try:
        position = payloads.parse(payloads.Position, request.body)
    except PayloadError as error:
        return _refused(str(error), 400)
    if position.before is not None:
        document = services.previous_document(project=project, user=request.user, before=position.before)
    else:
        document = services.next_document(
            project=project, user=request.user, after=position.after, rows=services.with_open_data()
        )
    if document is None:
        return JsonResponse({"done": True, "url": reverse("label", args=[slug])})
    document.project = project
    return JsonResponse(document_state(services.open_document(document=document, user=request.user), request.user))


@require_POST
def save(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Saves a draft or submits.

    200 with the result. 422 where a submit was rejected (saved as a draft), asks about empty optional fields
    (``asked``: those it already asked about), or has invalid JSON from the JSON view. 409 where newer changes of others
    were merged, so the user must check the result first.
    """
    project = project_for(request.user, slug, Action.LABEL)
    try:
        payload = payloads.parse(payloads.Save, request.body)
        value = payload.value()
    except PayloadError as error:
        return _refused(str(error), 400)
    except ValueSyntaxError as error:
        return JsonResponse({"syntax": str(error)}, status=422)
    # Only the key: the service reads the row after locking it.
    document = Document(pk=pk, project=project)
    options: dict[str, Any] = {
        "document": document,
        "user": request.user,
        "value": value,
        "evidence": payload.evidence,
        "base_version": payload.base_version,
        "seconds": payload.seconds,
        "schema_number": payload.schema_number,
        "prediction": payload.prediction,
        "field_seconds": payload.field_seconds,
    }
    screen: dict[str, Any] = {"prediction": payload.prediction, "whole": payload.json_text is not None}
    try:
        if not payload.submit:
            return JsonResponse(save_state(services.save_draft(**options), document, **screen))
        saved = services.submit(**options, asked=payload.asked)
    except services.InvalidLabel as error:
        return JsonResponse(save_state(error.saved, document, **screen), status=422)
    except Document.DoesNotExist:
        return _refused("This document was deleted.", 404)
    return JsonResponse(save_state(saved, document, **screen), status=200 if saved.submitted else 409)


@require_POST
def skip(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Skips the document with a reason."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        reason = payloads.parse(payloads.Skip, request.body).reason
        services.skip(document=document, user=request.user, reason=reason)
    except (PayloadError, Refused) as error:
        return _refused(str(error), 422)
    return JsonResponse({"state": "skipped"})


@require_POST
def flag(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Sets the document's failure tags."""
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        tags = payloads.parse(payloads.Tags, request.body).tags
        tags = services.flag(document=document, user=request.user, tags=tags)
    except (PayloadError, Refused) as error:
        return _refused(str(error), 422)
    return JsonResponse({"tags": tag_titles(project, tags)})


@sent_by_page
@require_POST
def queue_strip(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The queue strip. Requesting it reports an open tab and renews the lock.

    ``{"tab": name}`` names the tab; with ``"leaving": true`` it is closed.
    """
    project, document = object_for(request.user, slug, Action.LABEL, with_decision(), pk=pk)
    try:
        sends_tab = request.content_type == "application/json" and request.body
        tab = payloads.parse(payloads.Tab, request.body) if sends_tab else payloads.Tab()
    except PayloadError as error:
        return _refused(str(error), 400)
    if tab.leaving:
        presence.close_tab(user=request.user, tab=tab.tab)
        return HttpResponse(status=204)
    services.acquire_lock(document=document, user=request.user)
    presence.open_tab(document=document, user=request.user, tab=tab.tab)
    standing = services.queue_position(document=document, user=request.user)
    # Independent annotators do not block each other.
    alone = is_blind_overlap(document, document.decision)
    open_by = [] if alone else presence.viewers(document=document, user=request.user)
    context = {"project": project, "document": document, "standing": standing, "open_by": open_by}
    return render(request, "labeling/annotation/queue_strip.html", context)


@require_POST
def release(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The tab was closed: releases the lock."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    services.release_lock(document=document, user=request.user)
    return HttpResponse(status=204)


@require_GET
def history(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The steps of the document's labels with their changes, newest first."""
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    steps = document_history(document, request.user if sees_own_only(project, document) else None)
    newest = steps[0].revision.annotation.schema_version_id if steps else None
    context = {"project": project, "document": document, "steps": steps, "newest_schema": newest}
    return render(request, "labeling/annotation/history.html", context)


@require_POST
def restore(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Restores an old revision as a draft: ``{"revision", "base_version"}``. Responds like a save."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        asked = payloads.parse(payloads.Restore, request.body)
        saved = services.restore(
            document=document, user=request.user, revision_id=asked.revision, base_version=asked.base_version
        )
    except (PayloadError, Refused) as error:
        return _refused(str(error), 422)
    # Like a save from the JSON view: the response contains the whole form.
    return JsonResponse(save_state(saved, document, prediction=asked.prediction, whole=True))


def _refused(message: str, status: int) -> HttpResponse:
    return JsonResponse({"message": message}, status=status)
