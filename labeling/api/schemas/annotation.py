"""Annotation: open, save, submit, skip and tag documents."""

from typing import Any

from pydantic import Field

from labeling.annotation.payloads import MAX_FIELDS
from labeling.api.schemas.base import (
    In,
    Json,
    Key,
    Number,
    Number_,
    Out,
    ProblemOut,
    RowOrField,
    State,
    Text,
    Value,
    Version,
)


class NextIn(In):
    """The position in the queue."""

    after: Key | None = Field(
        None, description="continue after this document; default: the user's unfinished documents first"
    )


class Proposed(Out):
    """The pre-label of an open document."""

    id: int
    model: str
    value: Json
    confidence: dict[str, Any]


class RejectionOut(Out):
    """The reason of a rejection."""

    by: str
    reason: str
    at: str


class OpenedOut(Out):
    """An open document. Send its ``version`` and ``schema_number`` with each save."""

    id: int
    external_id: str
    state: State
    text: str
    source: str
    tags: list[str]
    holdout: bool
    synthetic: bool
    skip_reason: str
    instruction: str
    schema_number: int
    version: int = Field(description="send it as base_version")
    value: Json
    evidence: dict[str, Any] = Field(description="spans in the text by field path")
    submitted: bool
    author: str | None
    problems: list[RowOrField] = Field(description="schema errors")
    warnings: list[RowOrField] = Field(description="violated rules, and values that are not in the text")
    prediction: Proposed | None
    rejection: RejectionOut | None
    returned: str | None = Field(description="why a schema change returned it to the queue")
    open_comments: int
    own_only: bool = Field(description="true if several annotators label it independently")
    held_by: str | None = Field(description="another user who has it open")
    url: str


class SaveIn(In):
    """A label."""

    value: Value = Field(description="the whole value under the schema")
    base_version: Version = Field(description="the version that it is based on; 0 for the first")
    schema_number: Number_ | None = Field(None, description="the schema version of the value; default: the newest")
    evidence: dict[str, Any] = Field({}, max_length=5_000)
    seconds: Number = Field(0, ge=0, le=86_400, description="seconds since the last save")
    field_seconds: dict[str, Number] = Field({}, max_length=MAX_FIELDS)
    prediction: Key | None = Field(None, description="the pre-label that it is based on")


class ClashOut(Out):
    """A field that two users changed; the value of this request stays."""

    field: str
    theirs: Json = None
    absent: bool = Field(description="the other user removed it")


class SavedOut(Out):
    """The result of a save. ``merged``: fields with the values of another user who changed them since."""

    version: int = Field(description="send it as base_version of the next save")
    schema_number: int
    state: State
    submitted: bool
    approved: bool
    value: Json
    valid: bool
    problems: list[RowOrField]
    warnings: list[RowOrField]
    merged: list[str]
    merged_with: str
    clashes: list[ClashOut]


class NotSubmittedOut(ProblemOut):
    """Why a label was not submitted. It was saved as a draft: ``saved``."""

    saved: SavedOut | None = None


class SkipIn(In):
    """Why a document cannot be labeled."""

    reason: Text = Field(min_length=1, max_length=300)


class TagsIn(In):
    """The failure tags of a document."""

    tags: list[Text] = Field(max_length=100)


class TagsOut(Out):
    """The tags in the order of the vocabulary."""

    tags: list[str]


class RestoreIn(In):
    """The revision to restore."""

    revision: Key
    base_version: Version
