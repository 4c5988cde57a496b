"""Predictions that are sent to the project."""

from typing import Annotated

from pydantic import Field, StringConstraints

from labeling.api.schemas.base import In, Json, Key, Number, Number_, Out, RowOrField, Text

MAX_PREDICTIONS = 1_000


class PredictionIn(In):
    """A prediction for a document, given by ``document`` or ``external_id``."""

    document: Key | None = None
    external_id: Text | None = Field(None, max_length=200)
    value: Json = Field(None, description="the value, unless raw is given")
    raw: Text | None = Field(None, max_length=1_000_000, description="the completion")
    confidence: dict[str, Annotated[Number, Field(ge=0, le=1)]] = Field({}, max_length=5_000)
    seconds: Number = Field(0, ge=0, le=86_400)


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
