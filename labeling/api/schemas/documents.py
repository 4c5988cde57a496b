"""Documents: filters, lists, details and history."""

from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import Field, StringConstraints

from labeling.api.schemas.base import Json, Out, State, Text
from labeling.documents.list.filters import MAX_CONDITIONS

YesNo = Literal["yes", "no"]


Name = Annotated[Text, StringConstraints(max_length=150)]


Condition = Annotated[Text, StringConstraints(max_length=300)]


class DocumentFilters(Schema):
    """The filters of the document list. Each condition on a field has a field, op and value."""

    q: Text = Field("", max_length=200, description="text to find in the ID or the text")
    external_id: Text = Field("", max_length=200, description="exact document ID")
    state: State | None = None
    by: Name = Field("", description="labeled by this user; - for no user, * for any user")
    assigned: Name = Field("", description="assigned to this user; - for no user, * for any user")
    tag: Text = Field("", max_length=40)
    holdout: YesNo | None = None
    synthetic: YesNo | None = None
    source: Text = Field("", max_length=200)
    imported: int | None = Field(None, ge=1, lt=2**63, description="ID of an import")
    split: Literal["train", "validation", "holdout", "none"] | None = Field(
        None, description="split in the newest dataset version"
    )
    below: float | None = Field(None, ge=0, le=100, description="score of the last evaluation, in percent")
    above: float | None = Field(None, ge=0, le=100, description="score of the last evaluation, in percent")
    wrong: Text = Field("", max_length=300, description="a field that was wrong in the last evaluation")
    field: list[Condition] = Field(
        [], max_length=MAX_CONDITIONS, description="a field of the schema, for example total_amount"
    )
    op: list[Literal["is", "contains", "more", "less", "empty"]] = Field([], max_length=MAX_CONDITIONS)
    value: list[Condition] = Field([], max_length=MAX_CONDITIONS, description="the value to compare with, as typed")


class ListedOut(Out):
    """A document in a list."""

    id: int
    external_id: str
    state: State
    tags: list[str]
    holdout: bool
    synthetic: bool
    source: str
    returned: str | None = Field(description="why a schema change returned it to the queue")
    assigned_to: str | None
    created_at: str
    beginning: str = Field(description="the first 240 characters of its text")


class DocumentsOut(Out):
    """A page of documents."""

    items: list[ListedOut]
    next_after: str | None = Field(description="the next value of after; null on the last page")


class PredictionOut(Out):
    """A prediction."""

    id: int
    model: str
    source: str
    schema_number: int
    value: Json = Field(description="null if the output is not JSON")
    valid: bool
    confidence: dict[str, Any]
    created_at: str


class GoldOut(Out):
    """A gold label."""

    value: Json
    schema_number: int
    origin: str
    revision: int
    approved_by: str | None
    created_at: str


class LabelOut(Out):
    """The label of a user."""

    user: str | None = Field(description="null for an import")
    schema_number: int
    version: int
    value: Json
    evidence: dict[str, Any]
    valid: bool
    submitted: bool
    origin: str
    updated_at: str


class DocumentOut(ListedOut):
    """A document with its labels and predictions. With overlap, annotators only see their own label."""

    text: str
    metadata: Json
    skip_reason: str
    overlap: int = Field(description="the overlap")
    disputed: bool
    page_count: int
    url: str
    gold: GoldOut | None
    labels: list[LabelOut]
    predictions: list[PredictionOut] = Field(description="the newest twenty that are not withheld")


class RevisionOut(Out):
    """A revision of a label."""

    id: int
    number: int
    action: str
    user: str | None
    schema_number: int
    value: Json
    created_at: str


class HistoryOut(Out):
    """Revisions, newest first."""

    items: list[RevisionOut]
    next_before: int | None = Field(description="the next value of before; null on the last page")
