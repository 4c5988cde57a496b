"""The history of a document's labels next to its form, and restoring a revision."""

from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from labeling.annotation import services
from labeling.annotation.diffs import MAX_REVISIONS, history_steps
from labeling.annotation.locked_document import sees_own_only
from labeling.annotation.payloads import PayloadError, SavePayload, parse_object, whole_number
from labeling.annotation.screen_state import save_state
from labeling.models import AnnotationRevision, Document
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


@require_GET
def history(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """The steps of the document's labels with their changes, newest first."""
    project, document = object_for(request.user, slug, Action.LABEL, Document.objects.without_text(), pk=pk)
    rows = AnnotationRevision.objects.history(document)
    if sees_own_only(project, document):
        rows = rows.filter(annotation__user=request.user)
    steps = history_steps(list(rows[: MAX_REVISIONS + 1]), has_overlap=document.overlap > 1)
    newest = steps[0].revision.annotation.schema_version_id if steps else None
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
