"""Dataset versions, freezes and progress."""

from typing import Any, Literal

from pydantic import Field

from labeling.api.schemas.base import In, Number, Out, State, Text, Whole
from labeling.datasets.near_duplicates import HIGHEST, LOWEST, THRESHOLD


class ProgressOut(Out):
    """The labeling progress."""

    documents: int
    states: dict[str, int]
    labelled: int
    gold: int
    holdout: int
    disputed: int
    left: int = Field(description="documents in the queue")


class FreezeIn(In):
    """The rules of a dataset version. Shares from 0 to 1."""

    seed: Whole = Field(17, ge=0, lt=2**31)
    validation_share: Number = Field(0.1, ge=0, le=0.5)
    holdout_share: Number = Field(0.2, ge=0, le=0.9)
    similarity: Number = Field(THRESHOLD, ge=LOWEST, le=HIGHEST, description="similarity threshold for near-duplicates")
    group_by: Text = Field("", max_length=200, description="source, or metadata.<key>: groups stay in one split")
    large_families: Literal["", "whole", "spread"] = Field(
        "",
        description="families with 10% or more of all documents: hold out one whole, or spread each across the splits",
    )
    stratify: Text = Field("", max_length=300, description="tags, or a field with a fixed set of values")
    states: list[State] = Field([], max_length=10)
    origins: list[Literal["human", "prelabelled", "imported", "synthetic"]] = Field([], max_length=10)
    tags: list[Text] = Field([], max_length=100, description="only documents with one of these")
    without_tags: list[Text] = Field([], max_length=100)
    silver: Literal["", "agreement", "confidence"] = Field(
        "", description="pre-labels of unlabeled documents that become silver labels, for training only"
    )
    silver_confidence: Number = Field(0.95, ge=0, le=1, description="lowest confidence of any field of a silver label")
    most: Whole | None = Field(None, ge=2, lt=2**31, description="maximum for training and validation")


class DatasetOut(Out):
    """A dataset version."""

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
    """Dataset versions, newest first."""

    items: list[DatasetOut]


class FreezeRunOut(Out):
    """A background freeze. ``dataset`` is set when it is done."""

    id: int
    status: str
    stage: str
    error: str
    unchanged: bool = Field(description="nothing changed; dataset is the existing version")
    dataset: int | None
