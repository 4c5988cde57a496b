"""Predictions of external models. They pre-fill the form, and never become gold labels automatically."""

from collections import Counter
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field, StringConstraints

from labeling.annotation import predictions as service
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import In, Json, Key, Number, Number_, Out, RowOrField, Text
from labeling.models import Project
from slmstudio.contract.json_text import dumps

router = Router(tags=["predictions"])
#: of sources, to tell them from runs of the application
SOURCE_PREFIX = "api:"
MAX_PREDICTIONS = 1_000
MAX_ERRORS = 100


class PredictionIn(In):
    """A prediction for a document, given by ``document`` or ``external_id``."""

    document: Key | None = None
    external_id: Text | None = Field(None, max_length=200)
    value: Json = Field(None, description="the value, unless raw is given")
    raw: Text | None = Field(None, max_length=1_000_000, description="the completion")
    confidence: dict[str, Annotated[Number, Field(ge=0, le=1)]] = Field({}, max_length=5_000)
    seconds: Number = Field(0, ge=0, le=86_400)

    def error(self) -> str:
        """Why it is invalid; "" where it is not."""
        if (self.document is None) == (self.external_id is None):
            return "give either document or external_id"
        return "give either value or raw" if (self.value is None) == (self.raw is None) else ""


class PredictionsIn(In):
    """Predictions of a model. A source has one prediction per document; repetitions change nothing."""

    model: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=200, description="the name of the model"
    )
    source: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=150, description="run that created the predictions"
    )
    schema_number: Number_ | None = Field(None, description="default: the newest")
    predictions: list[PredictionIn] = Field(min_length=1, max_length=MAX_PREDICTIONS)


class PredictedOut(Out):
    """Counts of predictions; each is in one of the first four."""

    written: int
    repeated: int = Field(description="the source has one for the document")
    held_out: int = Field(description="hold-out documents get none")
    gone: int = Field(description="the document does not exist")
    unusable: int = Field(description="written predictions that are not a JSON object, so they cannot fill the form")
    errors: list[RowOrField] = Field(description="rows with an unknown document")


@router.post("", summary="Send predictions", **operation("import", PredictedOut, 400, 413, is_sparse=True))
def add_predictions(request: HttpRequest, slug: Slug, body: PredictionsIn) -> Any:
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
    rows = list(zip(body.predictions, keys, strict=True))
    missing = [
        {"row": row, "id": item.external_id or str(item.document), "message": "this document does not exist"}
        for row, (item, key) in enumerate(rows, 1)
        if key is None
    ]
    recorded = service.receive(
        project=project,
        user=caller(request).user,
        schema_version=version,
        proposals=[
            service.PredictionInput(
                key, dumps(item.value) if item.raw is None else item.raw, item.confidence, item.seconds
            )
            for item, key in rows
            if key is not None
        ],
        model=body.model,
        source=f"{SOURCE_PREFIX}{body.source}",
    )
    return {
        "written": recorded.written,
        "repeated": recorded.repeated,
        "held_out": recorded.held_out,
        "gone": recorded.gone + len(missing),
        "unusable": recorded.unusable,
        "errors": missing[:MAX_ERRORS],
    }


def _keys(project: Project, items: list[PredictionIn]) -> list[int | None]:
    """The document of each prediction, None if it does not exist.

    Raises:
        Problem: an item lacks a document or value, or two are for the same document.
    """
    _check_rows([item.error() for item in items])
    names = [item.external_id for item in items if item.external_id is not None]
    by_name = dict(project.documents.filter(external_id__in=names).values_list("external_id", "pk")) if names else {}
    numbers = [item.document for item in items if item.document is not None]
    by_key = {pk: pk for pk in project.documents.filter(pk__in=numbers).values_list("pk", flat=True)} if numbers else {}
    keys = [
        by_key.get(item.document) if item.external_id is None else by_name.get(item.external_id)  # type: ignore[arg-type]
        for item in items
    ]
    counts = Counter(key for key in keys if key is not None)
    _check_rows(["another row is for the same document" if key and counts[key] > 1 else "" for key in keys])
    return keys


def _check_rows(messages: list[str]) -> None:
    errors = [{"row": row, "message": message} for row, message in enumerate(messages, 1) if message]
    if errors:
        raise Problem(422, f"Row {errors[0]['row']}: {errors[0]['message']}.", errors[:MAX_ERRORS])
