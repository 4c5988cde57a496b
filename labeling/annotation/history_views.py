"""The history of a document's labels next to its form, and restoring a revision."""

from typing import Any

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from labeling.annotation import services
from labeling.annotation.diffs import field_changes
from labeling.annotation.payloads import PayloadError, SavePayload, parse_object, whole_number
from labeling.annotation.screen_state import save_state
from labeling.models import AnnotationRevision, Document
from slmstudio.access import Action, may, object_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

MAX_REVISIONS = 200
MAX_CHANGES = 40


@require_GET
def history(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The changes of each revision, newest first; consecutive drafts of one user count as one."""
    project, document = object_for(request.user, slug, Action.LABEL, Document.objects.without_text(), pk=pk)
    rows = AnnotationRevision.objects.history(document)
    if document.wanted > 1 and not may(project.role, Action.REVIEW):
        rows = rows.filter(annotation__user=request.user)
    steps = _steps(list(rows[: MAX_REVISIONS + 1]))
    newest = steps[0]["revision"].annotation.schema_version_id if steps else None
    context = {"project": project, "document": document, "steps": steps, "newest_schema": newest}
    return render(request, "labeling/annotation/history.html", context)


@require_POST
def restore(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Restores an old revision as a draft: ``{"revision", "base_version"}``. Responds like a save."""
    _, document = object_for(request.user, slug, Action.LABEL, Document, pk=pk)
    try:
        payload = parse_object(request.body)
        revision, base = whole_number(payload, "revision"), whole_number(payload, "base_version")
        prediction = whole_number(payload, "prediction") if payload.get("prediction") is not None else None
        saved = services.restore(document=document, user=request.user, revision_id=revision, base_version=base)
    except (PayloadError, Refused) as error:
        return JsonResponse({"message": str(error)}, status=422)
    # Like a save from the JSON view: the response contains the whole form.
    asked = SavePayload(None, {}, base, saved.schema_version.number, was_raw=True, prediction=prediction)
    return JsonResponse(save_state(saved, asked, document))


def _steps(revisions: list[AnnotationRevision]) -> list[dict[str, Any]]:
    """Revisions, newest first, as steps, each with its changes since the step before."""
    steps: list[list[AnnotationRevision]] = []
    for revision in revisions:
        last = steps[-1] if steps else None
        draft = revision.action == AnnotationRevision.Action.DRAFT
        if last and draft and _same_session(revision, last[0]):
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
        changed = field_changes(before.value if before is not None and same_schema else {}, ordered(step[0].value))
        result.append(
            {
                "revision": step[0],
                "saves": len(step),
                "since": step[-1].created_at,
                "changes": changed[:MAX_CHANGES],
                "more": max(0, len(changed) - MAX_CHANGES),
            }
        )
    return result


def _same_session(older: AnnotationRevision, newer: AnnotationRevision) -> bool:
    """Whether two drafts belong to one editing session: the same annotation, at most 15 minutes apart."""
    return (
        newer.action == AnnotationRevision.Action.DRAFT
        and older.annotation_id == newer.annotation_id
        and (newer.created_at - older.created_at).total_seconds() < 900
    )
