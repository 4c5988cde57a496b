"""Beside the form: comments on a document and its fields, who changed what, and going back to it."""

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from labeling.annotation import comments as comments_module
from labeling.annotation import services
from labeling.annotation.diffs import changes
from labeling.annotation.payloads import PayloadError, SavePayload, parse_object, whole_number
from labeling.annotation.screen_state import commented, saved_of
from labeling.form.tree import FormNode, node_at, tree_of
from labeling.models import AnnotationRevision, Comment, Document, Membership
from slmstudio.access import Action, may, object_for
from slmstudio.contract.schema.structure import split
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

MOST_REVISIONS = 200
MOST_CHANGES = 40


@require_http_methods(["GET", "POST"])
def comments(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """What people say about the document, as a fragment; POST ``{"path", "text"}`` says something.

    Who sees it has read what mentions them in it.
    """
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    if request.method == "POST":
        try:
            said = parse_object(request.body)
            path, text = said.get("path", ""), said.get("text", "")
            if not isinstance(path, str) or not isinstance(text, str):
                raise PayloadError("path and text must be texts.")
            comments_module.add(document=document, user=request.user, text=text, path=path)
        except (PayloadError, Refused) as error:
            return JsonResponse({"message": str(error)}, status=422)
    unread = comments_module.mentions(project=project, user=request.user).filter(
        comment__document=document, read_at=None
    )
    for mention in unread:
        comments_module.read(project=project, user=request.user, mention=mention.pk)
    return _talk(request, project, document)


@require_POST
def resolve(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Marks a comment, ``{"comment": id}``, as settled."""
    project, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        number = whole_number(parse_object(request.body), "comment")
        comment = get_object_or_404(Comment, pk=number, document=document)
        comments_module.resolve(comment=comment, user=request.user)
    except (PayloadError, Refused) as error:
        return JsonResponse({"message": str(error)}, status=422)
    return _talk(request, project, document)


@require_GET
def history(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Who changed which field from what to what, newest first; drafts of one person in a row count as one."""
    project, document = object_for(request.user, slug, Action.LABEL, Document.objects.defer("text"), pk=pk)
    rows: Any = (
        AnnotationRevision.objects.filter(annotation__document=document)
        .select_related("user", "annotation__schema_version")
        .order_by("-annotation__schema_version__number", "-number", "-id")
    )
    if document.wanted > 1 and not may(project.role, Action.REVIEW):
        rows = rows.filter(annotation__user=request.user)
    steps = _steps(list(rows[: MOST_REVISIONS + 1]))
    newest = steps[0]["revision"].annotation.schema_version_id if steps else None
    context = {"project": project, "document": document, "steps": steps, "newest_schema": newest}
    return render(request, "labeling/annotation/history.html", context)


@require_POST
def restore(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Writes an old revision's value as a new one: ``{"revision", "base_version"}``. Answers as a save does."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        payload = parse_object(request.body)
        revision, base = whole_number(payload, "revision"), whole_number(payload, "base_version")
        prediction = whole_number(payload, "prediction") if payload.get("prediction") is not None else None
        saved = services.restore(document=document, user=request.user, revision_id=revision, base_version=base)
    except (PayloadError, Refused) as error:
        return JsonResponse({"message": str(error)}, status=422)
    # As a save from the JSON view: the answer brings the whole form.
    asked = SavePayload(None, {}, base, saved.schema_version.number, was_raw=True, prediction=prediction)
    return JsonResponse(saved_of(saved, asked, document))


def _talk(request: SignedInRequest, project: Any, document: Document) -> HttpResponse:
    node = tree_of(project.schema_version.compiled)
    threads = [
        {"path": comment.path, "title": _title(node, comment.path) if comment.path else "", "comment": comment}
        for comment in comments_module.threads(document=document)
    ]
    members = Membership.objects.filter(project=project).select_related("user").order_by("user__username")
    context = {"project": project, "document": document, "threads": threads}
    open_by_path = commented(document)
    return JsonResponse(
        {
            "html": render_to_string("labeling/annotation/comments.html", context, request),
            "count": sum(open_by_path.values()),
            "commented": open_by_path,
            "members": [member.user.get_username() for member in members],
        }
    )


def _title(node: FormNode, path: str) -> str:
    """The field of a path as people read it, with its row: "Line items 2, Amount"."""
    words: list[str] = []
    for step in split(path):
        if isinstance(step, int):
            words[-1:] = [f"{words[-1] if words else 'Row'} {step + 1}"]
        elif step is not None:
            words.append(step)
    own = node_at(node, path).title
    return f"{words[-2]}, {own}" if own and len(words) > 1 else own or ", ".join(words)


def _steps(revisions: list[AnnotationRevision]) -> list[dict[str, Any]]:
    """Revisions, newest first, as steps: each with what it changed against the step before it."""
    steps: list[list[AnnotationRevision]] = []
    for revision in revisions:
        last = steps[-1] if steps else None
        draft = revision.action == AnnotationRevision.Action.DRAFT
        if last and draft and _goes_with(revision, last[0]):
            last.append(revision)
        else:
            steps.append([revision])
    result = []
    for index, step in enumerate(steps):
        before = steps[index + 1][0] if index + 1 < len(steps) else None
        same_schema = before is not None and (
            before.annotation.schema_version_id == step[0].annotation.schema_version_id
        )
        ordered = step[0].annotation.schema_version.compiled.ordered
        changed = changes(before.value if before is not None and same_schema else {}, ordered(step[0].value))
        result.append(
            {
                "revision": step[0],
                "saves": len(step),
                "since": step[-1].created_at,
                "changes": changed[:MOST_CHANGES],
                "more": max(0, len(changed) - MOST_CHANGES),
            }
        )
    return result


def _goes_with(older: AnnotationRevision, newer: AnnotationRevision) -> bool:
    """Whether a draft is a step on the way to a newer draft of the same person, minutes later at most."""
    return (
        newer.action == AnnotationRevision.Action.DRAFT
        and older.annotation_id == newer.annotation_id
        and (newer.created_at - older.created_at).total_seconds() < 900
    )
