"""What models propose, sent by whoever runs them. A proposal fills a form; it never becomes gold by itself."""

from collections import Counter
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from labeling.annotation import predictions as service
from labeling.api.access import Slug, project_of
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.common import about
from labeling.api.schemas.data import PredictedOut, PredictionIn, PredictionsIn
from labeling.api.wire import answer
from labeling.models import Document, Project
from slmstudio.contract.json_text import dumps

router = Router(tags=["predictions"])
#: before the name of a source, so that no run of the application is taken for one from outside
BEGINNING = "api:"
_FIT, _MISSING = 1, 0


@router.post("", summary="Send predictions", **about("import", PredictedOut, 400, 413))
def add_predictions(request: HttpRequest, slug: Slug, body: PredictionsIn) -> HttpResponse:
    """Records what a model said about up to 1,000 documents. Hold-out documents get none, a random share is withheld
    from people, and a value that the schema rejects is kept and marked so.
    """
    project = project_of(request)
    version = project.schema_version
    if body.schema_number not in (None, version.number):
        version = project.schema_versions.filter(number=body.schema_number).first()
        if version is None:
            raise field_problem("schema_number", f"There is no schema version {body.schema_number}.")
    keys = _keys(project, body.predictions)
    gone = [
        {"row": row, "id": item.external_id or str(item.document), "message": "there is no such document"}
        for row, (item, key) in enumerate(zip(body.predictions, keys, strict=True), 1)
        if key is None
    ]
    recorded = service.record(
        project=project,
        schema_version=version,
        proposals=[
            service.PredictionInput(key, _raw(item), item.confidence, item.seconds)
            for item, key in zip(body.predictions, keys, strict=True)
            if key is not None
        ],
        model=body.model,
        source=f"{BEGINNING}{body.source}",
    )
    return answer(
        {
            "written": recorded.written,
            "repeated": recorded.repeated,
            "held_out": recorded.held_out,
            "gone": recorded.gone + len(gone),
            "unusable": recorded.unusable,
            "errors": gone[:100],
        }
    )


def _keys(project: Project, items: list[PredictionIn]) -> list[int | None]:
    """The document each is about, None where there is none.

    Raises:
        Problem: an item does not say which document or what, or two are about the same one.
    """
    wrong: list[dict[str, Any]] = []
    for row, item in enumerate(items, 1):
        if (item.document is None) == (item.external_id is None):
            wrong.append({"row": row, "message": "give document or external_id, one of them"})
        elif (item.value is None) == (item.raw is None):
            wrong.append({"row": row, "message": "give value or raw, one of them"})
    if wrong:
        raise Problem(422, f"Row {wrong[0]['row']}: {wrong[0]['message']}.", wrong[:100])
    documents = Document.objects.filter(project=project)
    names = [item.external_id for item in items if item.external_id is not None]
    by_name = dict(documents.filter(external_id__in=names).values_list("external_id", "pk")) if names else {}
    numbers = [item.document for item in items if item.document is not None]
    there = set(documents.filter(pk__in=numbers).values_list("pk", flat=True)) if numbers else set()
    keys = [
        by_name.get(item.external_id)
        if item.external_id is not None
        else item.document
        if item.document in there
        else None
        for item in items
    ]
    seen = Counter(key for key in keys if key is not None)
    twice = [
        {"row": row, "message": "another row is about the same document"}
        for row, key in enumerate(keys, 1)
        if key is not None and seen[key] > 1
    ]
    if twice:
        raise Problem(422, f"Row {twice[0]['row']}: {twice[0]['message']}.", twice[:100])
    return keys


def _raw(item: PredictionIn) -> str:
    return item.raw if item.raw is not None else dumps(item.value)
