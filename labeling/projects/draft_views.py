"""Schema drafts: the schema that a pasted text or the project's labels describe. Nothing is saved."""

import json
from typing import Any

from django.http import HttpResponse, JsonResponse
from django.views.decorators.http import require_POST

from labeling.contract.label_examples import draft_from_labels
from labeling.contract.schema_text import pretty
from slmstudio.access import Action, project_for
from slmstudio.contract.json_text import dumps
from slmstudio.contract.sources.detection import draft_schema
from slmstudio.contract.sources.examples import Draft, SourceError
from slmstudio.web.requests import SignedInRequest


@require_POST
def schema_draft(request: SignedInRequest, slug: str) -> HttpResponse:
    """The draft of a schema. The body: ``{"text"}``, or ``{"labels": true}`` for the labels of the project."""
    project = project_for(request.user, slug, Action.CONTRACT)
    try:
        body = json.loads(request.body)
        text, labels = body.get("text", ""), body.get("labels") is True
    except (ValueError, AttributeError, RecursionError):
        return JsonResponse({"message": "The request is not JSON."}, status=400)
    if not isinstance(text, str):
        return JsonResponse({"message": "The text must be a string."}, status=400)
    try:
        if labels:
            draft, examples = draft_from_labels(project)
            return JsonResponse({**_answer(draft), "examples": examples})
        return JsonResponse(_answer(draft_schema(text)))
    except SourceError as error:
        return JsonResponse({"message": error.message, "line": error.line}, status=422)


def _answer(draft: Draft) -> dict[str, Any]:
    return {**draft.as_dict(), "schema": pretty(dumps(draft.schema))}
