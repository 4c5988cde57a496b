"""Predictions of external models. They pre-fill the form, and never become gold labels automatically."""

from collections import Counter
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from labeling.annotation import predictions as service
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.predictions import PredictedOut, PredictionIn, PredictionsIn
from labeling.api.wire import answer
from labeling.models import Document, Project
from slmstudio.contract.json_text import dumps

router = Router(tags=["predictions"])
#: of sources, to tell them from runs of the application
SOURCE_PREFIX = "api:"


@router.post("", summary="Send predictions", **operation("import", PredictedOut, 400, 413))
def add_predictions(request: HttpRequest, slug: Slug, body: PredictionsIn) -> HttpResponse:
    """Stores predictions for up to 1,000 documents. Hold-out documents get none; a random share is withheld from
    annotators; values that are invalid under the schema are stored and marked.
    """
    project = project_of(request)
    version = project.schema_version
    if body.schema_number not in (None, version.number):
        version = project.schema_versions.filter(number=body.schema_number).first()
        if version is None:
            raise field_problem("schema_number", f"There is no schema version {body.schema_number}.")
    keys = _keys(project, body.predictions)
    missing = [
        {"row": row, "id": item.external_id or str(item.document), "message": "this document does not exist"}
        for row, (item, key) in enumerate(zip(body.predictions, keys, strict=True), 1)
        if key is None
    ]
    recorded = service.receive(
        project=project,
        user=caller(request).user,
        schema_version=version,
        proposals=[
            service.PredictionInput(key, _raw(item), item.confidence, item.seconds)
            for item, key in zip(body.predictions, keys, strict=True)
            if key is not None
        ],
        model=body.model,
        source=f"{SOURCE_PREFIX}{body.source}",
    )
    return answer(
        {
            "written": recorded.written,
            "repeated": recorded.repeated,
            "held_out": recorded.held_out,
            "gone": recorded.gone + len(missing),
            "unusable": recorded.unusable,
            "errors": missing[:100],
        }
    )


def _keys(project: Project, items: list[PredictionIn]) -> list[int | None]:
    """The document of each prediction, None if it does not exist.

    Raises:
        Problem: an item lacks a document or value, or two are for the same document.
    """
    errors: list[dict[str, Any]] = []
    for row, item in enumerate(items, 1):
        if (item.document is None) == (item.external_id is None):
            errors.append({"row": row, "message": "give either document or external_id"})
        elif (item.value is None) == (item.raw is None):
            errors.append({"row": row, "message": "give either value or raw"})
    if errors:
        raise Problem(422, f"Row {errors[0]['row']}: {errors[0]['message']}.", errors[:100])
    documents = Document.objects.filter(project=project)
    names = [item.external_id for item in items if item.external_id is not None]
    by_name = dict(documents.filter(external_id__in=names).values_list("external_id", "pk")) if names else {}
    numbers = [item.document for item in items if item.document is not None]
    existing = set(documents.filter(pk__in=numbers).values_list("pk", flat=True)) if numbers else set()
    keys = [
        by_name.get(item.external_id)
        if item.external_id is not None
        else item.document
        if item.document in existing
        else None
        for item in items
    ]
    seen = Counter(key for key in keys if key is not None)
    repeated = [
        {"row": row, "message": "another row is for the same document"}
        for row, key in enumerate(keys, 1)
        if key is not None and seen[key] > 1
    ]
    if repeated:
        raise Problem(422, f"Row {repeated[0]['row']}: {repeated[0]['message']}.", repeated[:100])
    return keys


def _raw(item: PredictionIn) -> str:
    return item.raw if item.raw is not None else dumps(item.value)
