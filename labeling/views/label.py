"""The labeling screen: its page, and the requests it makes while a person works."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from labeling.entries import ABSENT, pretty, to_entry
from labeling.formtree import bind, node_at, tree_of
from labeling.merging import MISSING
from labeling.models import Document, Project
from labeling.payloads import PayloadError, ValueSyntaxError, parse_object, parse_save, whole_number
from labeling.services import annotating
from labeling.tags import FAILURE_TAGS
from slmstudio.access import Action, object_for, project_for
from slmstudio.contract.schema import Problem

SKIP_REASONS = (
    "Not the kind of document this task is about",
    "Cannot be read",
    "The same document is there already",
    "Another language",
    "Contains what must not be here",
)


@require_GET
def label(request: HttpRequest, slug: str) -> HttpResponse:
    """Goes to the next document of the person's queue; says so where nothing is left."""
    project = project_for(request.user, slug, Action.LABEL)
    document = annotating.next_document(project=project, user=request.user)
    if document is None:
        return render(request, "labeling/label_done.html", {"project": project})
    return HttpResponseRedirect(reverse("label_document", args=[slug, document.pk]))


@require_GET
def label_document(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The screen, with one document open."""
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    opened = annotating.open_document(document=document, user=request.user)
    node = tree_of(opened.schema_version.compiled)
    context = {
        "project": project,
        "document": document,
        # Empty: the script fills it from the state, as it does for every document after this one.
        "form": bind(node, ABSENT),
        "state": _state(opened, request.user),
        "instruction": project.contract.instruction,
        "failure_tags": FAILURE_TAGS,
        "skip_reasons": SKIP_REASONS,
    }
    return render(request, "labeling/label.html", context)


@require_GET
def state(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Everything about one document that the screen needs to open it, as JSON."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    return JsonResponse(_state(annotating.open_document(document=document, user=request.user), request.user))


@require_POST
def following(request: HttpRequest, slug: str) -> HttpResponse:
    """The document after another (``{"after": id}``; taken for this person) or before it; ``{"done": true}``: none."""
    project = project_for(request.user, slug, Action.LABEL)
    try:
        payload = parse_object(request.body)
        back = "before" in payload
        number = whole_number(payload, "before" if back else "after")
    except PayloadError as error:
        return _refused(str(error), 400)
    if back:
        document = annotating.previous_document(project=project, user=request.user, before=number)
    else:
        document = annotating.next_document(project=project, user=request.user, after=number)
    if document is None:
        return JsonResponse({"done": True, "url": reverse("label", args=[slug])})
    document.project = project
    return JsonResponse(_state(annotating.open_document(document=document, user=request.user), request.user))


@require_POST
def save(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Saves a draft or submits.

    200 with what was saved; 422 where a submit was refused (kept as a draft) or the JSON view's text is no JSON;
    409 where others changed the document so that the person has to look before it is submitted.
    """
    project = project_for(request.user, slug, Action.LABEL)
    try:
        payload = parse_save(request.body)
    except PayloadError as error:
        return _refused(str(error), 400)
    except ValueSyntaxError as error:
        return JsonResponse({"syntax": str(error)}, status=422)
    options: dict[str, Any] = {
        # Only the key: the service reads the row once it holds it.
        "document": Document(pk=pk, project=project),
        "user": request.user,
        "value": payload.value,
        "evidence": payload.evidence,
        "base_version": payload.base_version,
        "seconds": payload.seconds,
        "schema_number": payload.schema_number,
    }
    try:
        if not payload.submit:
            return JsonResponse(_saved(annotating.save_draft(**options), payload.was_raw))
        saved = annotating.submit(**options)
    except annotating.Invalid as error:
        return JsonResponse(_saved(error.saved, payload.was_raw), status=422)
    except Document.DoesNotExist:
        return _refused("This document is no longer there.", 404)
    return JsonResponse(_saved(saved, payload.was_raw), status=200 if saved.submitted else 409)


@require_POST
def skip(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Puts the document aside with a reason."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        reason = parse_object(request.body).get("reason")
        annotating.skip(document=document, user=request.user, reason=reason if isinstance(reason, str) else "")
    except (PayloadError, annotating.Refused) as error:
        return _refused(str(error), 422)
    return JsonResponse({"state": "skipped"})


@require_POST
def flag(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Sets the document's failure tags."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        tags = parse_object(request.body).get("tags")
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise PayloadError("tags must be a list of texts.")
        tags = annotating.flag(document=document, user=request.user, tags=tags)
    except (PayloadError, annotating.Refused) as error:
        return _refused(str(error), 422)
    return JsonResponse({"tags": _tags(tags)})


@require_POST
def here(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The queue strip; asking for it shows that the tab is open and so keeps the document with its person."""
    project, document = object_for(request.user, slug, Action.LABEL, Document.objects.defer("text"), pk=pk)
    holder = annotating.hold(document=document, user=request.user)
    standing = annotating.standing(document=document, user=request.user)
    context = {"project": project, "document": document, "standing": standing, "holder": holder}
    return render(request, "labeling/label_strip.html", context)


@require_POST
def release(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """The tab was closed: the document is free for others."""
    _, document = object_for(request.user, slug, Action.LABEL, Document.objects.only("pk", "project"), pk=pk)
    annotating.release(document=document, user=request.user)
    return HttpResponse(status=204)


def _refused(message: str, status: int) -> HttpResponse:
    return JsonResponse({"message": message}, status=status)


def _problems(problems: list[Problem]) -> list[dict[str, str]]:
    return [problem.as_dict() for problem in problems]


def _tags(tags: list[str]) -> list[dict[str, str]]:
    return [{"name": tag, "title": FAILURE_TAGS[tag].title if tag in FAILURE_TAGS else tag} for tag in tags]


def _checks(checks: annotating.Checks) -> dict[str, Any]:
    return {
        "valid": checks.valid,
        "problems": _problems(checks.problems),
        "warnings": _problems(checks.warnings),
        "evidence": checks.evidence,
        "spans": checks.spans,
        "missing": checks.missing,
    }


def _state(opened: annotating.Opened, user: Any) -> dict[str, Any]:
    document, annotation = opened.document, opened.annotation
    project: Project = document.project
    node = tree_of(opened.schema_version.compiled)
    addresses = {
        name: reverse(f"label_{name}", args=[project.slug, document.pk])
        for name in ("document", "save", "skip", "flag", "here", "release")
    }
    author = opened.author
    return {
        "id": document.pk,
        "name": document.external_id,
        "text": document.text,
        "source": document.source,
        "state": document.state,
        "skip_reason": document.skip_reason,
        "holdout": document.holdout,
        "synthetic": document.synthetic,
        "tags": _tags(document.tags),
        "urls": {**addresses, "page": document.get_absolute_url()},
        "schema": opened.schema_version.number,
        "version": opened.version,
        "submitted": bool(annotation and annotation.submitted),
        "saved_at": annotation.updated_at.isoformat() if annotation else None,
        "author": author.get_username() if author is not None and author != user else "",
        "origin": annotation.origin if annotation else "",
        "held_by": opened.locked_by_other.get_username() if opened.locked_by_other else "",
        "entry": to_entry(node, opened.value),
        "json": pretty(opened.value),
        "shown": {},
        **_checks(opened.checks),
    }


def _saved(saved: annotating.Saved, was_raw: bool) -> dict[str, Any]:
    node = tree_of(saved.schema_version.compiled)
    answer = {
        "version": saved.version,
        "schema": saved.schema_version.number,
        "state": saved.state,
        "submitted": saved.submitted,
        "json": pretty(saved.value),
        "shown": saved.shown,
        "merged": saved.merged,
        "merged_with": saved.merged_with,
        "clashes": [
            {
                "path": clash.path,
                "absent": clash.theirs is MISSING,
                "entry": None if clash.theirs is MISSING else to_entry(node_at(node, clash.path), clash.theirs),
                "shown": "nothing" if clash.theirs is MISSING else pretty(clash.theirs),
            }
            for clash in saved.clashes
        ],
        **_checks(saved.checks),
    }
    if was_raw or saved.merged:
        answer["entry"] = to_entry(node, saved.value)
    return answer
