"""What bodies and answers look like where data comes in and goes out: imports, predictions, datasets, tokens."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from labeling.api.schemas.common import In, Json, Number, Out, RowOrField, Text, Whole
from labeling.api.schemas.work import Key, Number_, State
from labeling.datasets.near_duplicates import HIGHEST, LOWEST, THRESHOLD

MOST_PREDICTIONS = 1_000


class ImportedOut(Out):
    """Rows in = imported + duplicates + rejected."""

    imported: int
    duplicates: int = Field(description="their text was there already; nothing was changed")
    rejected: int
    errors: list[RowOrField] = Field(description="the first hundred rejected rows, each with its reason")


class ImportRunOut(Out):
    """An import in the background."""

    id: int
    status: str = Field(description="queued, running, done, failed or cancelled")
    file_name: str
    kind: str
    encoding: str = Field(description="of text, once it ended")
    stage: str = Field(description="what it is doing, in words; a scan of a zip with its page")
    rows_done: int
    rows_total: int | None
    imported: int
    duplicates: int
    rejected: int
    errors: list[RowOrField]
    error: str
    created_at: str
    finished_at: str | None
    url: str


class ImportRunsOut(Out):
    """The newest first."""

    items: list[ImportRunOut]
    next_before: int | None


class PredictionIn(In):
    """What a model said about one document, named by ``document`` or by ``external_id``."""

    document: Key | None = None
    external_id: Text | None = Field(None, max_length=200)
    value: Json = Field(None, description="the value; or send raw")
    raw: Text | None = Field(None, max_length=1_000_000, description="the output as it came")
    confidence: dict[str, Annotated[Number, Field(ge=0, le=1)]] = Field({}, max_length=5_000)
    seconds: Number = Field(0, ge=0, le=86_400)


class PredictionsIn(In):
    """What a model said. A source says one thing about a document: sent again, it changes nothing."""

    model: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=200, description="which model, in words"
    )
    source: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1, max_length=150, description="the run that made them"
    )
    schema_number: Number_ | None = Field(None, description="left out, the newest")
    predictions: list[PredictionIn] = Field(min_length=1, max_length=MOST_PREDICTIONS)


class PredictedOut(Out):
    """Every prediction is in one of the first four counts."""

    written: int
    repeated: int = Field(description="this source had one for the document already")
    held_out: int = Field(description="hold-out documents get none")
    gone: int = Field(description="no such document")
    unusable: int = Field(description="of those written: no JSON object, so that they fill no form")
    errors: list[RowOrField] = Field(description="which documents there are not, by row")


class ProgressOut(Out):
    """How far the labeling is."""

    documents: int
    states: dict[str, int]
    labelled: int
    gold: int
    holdout: int
    disputed: int
    left: int = Field(description="what waits in the queue")


class FreezeIn(In):
    """How a dataset version is drawn. Shares from 0 to 1."""

    seed: Whole = Field(17, ge=0, lt=2**31)
    validation_share: Number = Field(0.1, ge=0, le=0.5)
    holdout_share: Number = Field(0.2, ge=0, le=0.9)
    similarity: Number = Field(THRESHOLD, ge=LOWEST, le=HIGHEST, description="from where on two texts are the same")
    group_by: Text = Field("", max_length=200, description="source, or metadata.<key>: groups stay in one split")
    stratify: Text = Field("", max_length=300, description="tags, or a field with a fixed set of values")
    states: list[State] = Field([], max_length=10)
    origins: list[Literal["human", "prelabelled", "imported", "synthetic"]] = Field([], max_length=10)
    tags: list[Text] = Field([], max_length=100, description="only documents with one of these")
    without_tags: list[Text] = Field([], max_length=100)
    most: Whole | None = Field(None, ge=2, lt=2**31, description="at most so many for training and validation")


class DatasetOut(Out):
    """A frozen version."""

    number: int
    schema_number: int
    instruction: str
    seed: int
    rules: dict[str, Any]
    sha256: str
    holdout_sha256: str
    counts: dict[str, Any]
    created_by: str | None
    created_at: str
    url: str


class DatasetsOut(Out):
    """The newest first."""

    items: list[DatasetOut]


class FreezeRunOut(Out):
    """A freeze in the background. ``dataset`` is there once it is done."""

    id: int
    status: str
    stage: str
    error: str
    unchanged: bool = Field(description="nothing had changed; dataset is the version that was there")
    dataset: int | None


class TokenOut(Out):
    """A token, without what opens anything."""

    id: int
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    this: bool = Field(description="the one this request came with")


class TokensOut(Out):
    """The caller's tokens of this project, the newest first."""

    items: list[TokenOut]
