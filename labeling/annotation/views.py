"""The labeling screen: its page, and the requests it makes while a person works."""

from typing import Any

from django.db.models import OuterRef
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from labeling.annotation import keyboard, preferences, presence, services
from labeling.annotation.locked_document import is_own_only, newest_decision
from labeling.annotation.payloads import PayloadError, ValueSyntaxError, parse_object, parse_save, whole_number
from labeling.annotation.screen_state import saved_of, state_of, tags_in_words
from labeling.documents.failure_tags import tags_of
from labeling.form.codec import ABSENT
from labeling.form.tree import bind, tree_of
from labeling.models import Document
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

SKIP_REASONS = (
    "Not the kind of document this task is about",
    "Cannot be read",
    "The same document is there already",
    "Another language",
    "Contains what must not be here",
)


@require_GET
def label(request: SignedInRequest, slug: str) -> HttpResponse:
    """Goes to the next document of the person's queue; says so where nothing is left."""
    project = project_for(request.user, slug, Action.LABEL)
    document = services.next_document(project=project, user=request.user)
    if document is None:
        return render(request, "labeling/annotation/done.html", {"project": project})
    return HttpResponseRedirect(reverse("label_document", args=[slug, document.pk]))


@require_GET
def label_document(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The screen, with one document open."""
    project, document = object_for(request.user, slug, Action.LABEL, services.openable(), pk=pk)
    opened = services.open_document(document=document, user=request.user)
    node = tree_of(opened.schema_version.compiled)
    mine = preferences.of(request.user)
    bound = keyboard.bindings(mine.keys)
    reviewing = "review" in request.GET and "review" in project.can
    context = {
        "project": project,
        "document": document,
        # Empty: the script fills it from the state, as it does for every document after this one.
        "form": bind(node, ABSENT),
        "state": state_of(opened, request.user),
        "instruction": opened.instruction,
        # From a review one goes back to the reviews.
        "next_url": reverse("review_onward" if reviewing else "label_next", args=[slug]),
        "failure_tags": tags_of(project),
        "skip_reasons": SKIP_REASONS,
        "exceptions_only": mine.exceptions_only,
        "bindings": bound,
        "key_rows": keyboard.rows(bound),
        "hints": {name: " ".join(keyboard.parts(chords[0])) for name, chords in bound.items()},
    }
    return render(request, "labeling/annotation/screen.html", context)


@require_GET
def state(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Everything about one document that the screen needs to open it, as JSON."""
    _, document = object_for(request.user, slug, Action.LABEL, services.openable(), pk=pk)
    return JsonResponse(state_of(services.open_document(document=document, user=request.user), request.user))


@require_POST
def following(request: SignedInRequest, slug: str) -> HttpResponse:
    """The document after another (``{"after": id}``; taken for this person) or before it; ``{"done": true}``: none."""
    project = project_for(request.user, slug, Action.LABEL)
    try:
        payload = parse_object(request.body)
        back = "before" in payload
        number = whole_number(payload, "before" if back else "after")
    except PayloadError as error:
        return _refused(str(error), 400)
    if back:
        document = services.previous_document(project=project, user=request.user, before=number)
    else:
        document = services.next_document(project=project, user=request.user, after=number, rows=services.openable())
    if document is None:
        return JsonResponse({"done": True, "url": reverse("label", args=[slug])})
    document.project = project
    return JsonResponse(state_of(services.open_document(document=document, user=request.user), request.user))


@require_POST
def save(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Saves a draft or submits.

    200 with what was saved; 422 where a submit was refused (kept as a draft), asks about fields that nobody answered
    (``asked`` names those it asked about before), or where the JSON view's text is no JSON;
    409 where others changed the document so that the person has to look before it is submitted.
    """
    project = project_for(request.user, slug, Action.LABEL)
    try:
        payload = parse_save(request.body)
    except PayloadError as error:
        return _refused(str(error), 400)
    except ValueSyntaxError as error:
        return JsonResponse({"syntax": str(error)}, status=422)
    # Only the key: the service reads the row once it holds it.
    document = Document(pk=pk, project=project)
    options: dict[str, Any] = {
        "document": document,
        "user": request.user,
        "value": payload.value,
        "evidence": payload.evidence,
        "base_version": payload.base_version,
        "seconds": payload.seconds,
        "schema_number": payload.schema_number,
        "prediction": payload.prediction,
        "field_seconds": payload.field_seconds,
    }
    try:
        if not payload.submit:
            return JsonResponse(saved_of(services.save_draft(**options), payload, document))
        saved = services.submit(**options, asked=payload.asked)
    except services.Invalid as error:
        return JsonResponse(saved_of(error.saved, payload, document), status=422)
    except Document.DoesNotExist:
        return _refused("This document is no longer there.", 404)
    return JsonResponse(saved_of(saved, payload, document), status=200 if saved.submitted else 409)


@require_POST
def skip(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Puts the document aside with a reason."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        reason = parse_object(request.body).get("reason")
        services.skip(document=document, user=request.user, reason=reason if isinstance(reason, str) else "")
    except (PayloadError, Refused) as error:
        return _refused(str(error), 422)
    return JsonResponse({"state": "skipped"})


@require_POST
def flag(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Sets the document's failure tags."""
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        tags = parse_object(request.body).get("tags")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise PayloadError("tags must be a list of texts.")
        tags = services.flag(document=document, user=request.user, tags=tags)
    except (PayloadError, Refused) as error:
        return _refused(str(error), 422)
    return JsonResponse({"tags": tags_in_words(project, tags)})


@require_POST
def here(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The queue strip; asking for it shows that the tab is open and so keeps the document with its person.

    ``{"tab": name}`` says which tab; with ``"leaving": true`` it goes away.
    """
    rows = Document.objects.defer("text").annotate(decision=newest_decision(OuterRef("pk")))
    project, document = object_for(request.user, slug, Action.LABEL, rows, pk=pk)
    try:
        body = parse_object(request.body) if request.content_type == "application/json" and request.body else {}
    except PayloadError as error:
        return _refused(str(error), 400)
    tab = str(body.get("tab", ""))
    if body.get("leaving") is True:
        presence.leave(user=request.user, tab=tab)
        return HttpResponse(status=204)
    services.hold(document=document, user=request.user)
    presence.arrive(document=document, user=request.user, tab=tab)
    standing = services.standing(document=document, user=request.user)
    # Where several people label a document unseen by each other, nobody is in anybody's way.
    alone = is_own_only(document, document.decision)
    open_by = [] if alone else presence.with_document(document=document, user=request.user)
    context = {"project": project, "document": document, "standing": standing, "open_by": open_by}
    return render(request, "labeling/annotation/queue_strip.html", context)


@require_POST
def release(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The tab was closed: the document is free for others."""
    _, document = object_for(request.user, slug, Action.LABEL, Document.objects.only("pk", "project"), pk=pk)
    services.release(document=document, user=request.user)
    return HttpResponse(status=204)


def _refused(message: str, status: int) -> HttpResponse:
    return JsonResponse({"message": message}, status=status)
