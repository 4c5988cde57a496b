"""What bodies and answers look like where documents are listed, labelled and reviewed."""

from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from labeling.annotation.payloads import MAX_FIELDS
from labeling.api.schemas.common import In, Json, Number, Out, ProblemOut, RowOrField, Text, Whole
from labeling.documents.list.filters import MAX_CONDITIONS

State = Literal["new", "in_progress", "submitted", "approved", "rejected", "skipped"]
YesNo = Literal["yes", "no"]
Name = Annotated[Text, StringConstraints(max_length=150)]
Version = Annotated[Whole, Field(ge=0, lt=2**31)]
Number_ = Annotated[Whole, Field(ge=1, lt=2**31)]
Key = Annotated[Whole, Field(ge=1, lt=2**63)]
Condition = Annotated[Text, StringConstraints(max_length=300)]


def _some_value(value: Any) -> Any:
    if value is None:
        raise ValueError("null is no value; a label is an object")
    return value


#: a label: any JSON value, since a draft may be wrong; but there must be one
Value = Annotated[Json, BeforeValidator(_some_value), WithJsonSchema({"not": {"type": "null"}})]


class DocumentFilters(Schema):
    """Which documents, as in the list of the pages. Conditions on fields come in threes: field, op, value."""

    q: Text = Field("", max_length=200, description="characters in the id or the text")
    external_id: Text = Field("", max_length=200, description="exactly this id")
    state: State | None = None
    by: Name = Field("", description="labelled by this person; - by nobody, * by anybody")
    assigned: Name = Field("", description="given to this person; - to nobody, * to anybody")
    tag: Text = Field("", max_length=40)
    holdout: YesNo | None = None
    synthetic: YesNo | None = None
    source: Text = Field("", max_length=200)
    imported: int | None = Field(None, ge=1, lt=2**63, description="brought in by the import of this id")
    split: Literal["train", "validation", "holdout", "none"] | None = Field(
        None, description="in the newest dataset version"
    )
    below: float | None = Field(None, ge=0, le=100, description="score of the last evaluation, %")
    above: float | None = Field(None, ge=0, le=100, description="score of the last evaluation, %")
    wrong: Text = Field("", max_length=300, description="a field that the last evaluation found wrong")
    field: list[Condition] = Field([], max_length=MAX_CONDITIONS, description="a field of the schema, as total_amount")
    op: list[Literal["is", "contains", "more", "less", "empty"]] = Field([], max_length=MAX_CONDITIONS)
    value: list[Condition] = Field([], max_length=MAX_CONDITIONS, description="what it is compared with, as typed")


class ListedOut(Out):
    """A document in a list."""

    id: int
    external_id: str
    state: State
    tags: list[str]
    holdout: bool
    synthetic: bool
    source: str
    returned: str | None = Field(description="why a change of the schema put it back into the queue")
    assigned_to: str | None
    created_at: str
    beginning: str = Field(description="the first 240 characters of its text")


class DocumentsOut(Out):
    """A page of documents."""

    items: list[ListedOut]
    next_after: str | None = Field(description="ask again with after= this; null at the end")


class PredictionOut(Out):
    """What a model proposed."""

    id: int
    model: str
    source: str
    schema_number: int
    value: Json = Field(description="null where the output was no JSON")
    valid: bool
    confidence: dict[str, Any]
    created_at: str


class GoldOut(Out):
    """The label that counts."""

    value: Json
    schema_number: int
    origin: str
    revision: int
    approved_by: str | None
    created_at: str


class LabelOut(Out):
    """What one person wrote."""

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
    """A document with its labels and what models proposed. Of labels people make unseen by each other, one's own."""

    text: str
    metadata: Json
    skip_reason: str
    wanted: int = Field(description="how many people label it")
    disputed: bool
    page_count: int
    url: str
    gold: GoldOut | None
    labels: list[LabelOut]
    predictions: list[PredictionOut] = Field(description="the newest twenty that may be seen")


class RevisionOut(Out):
    """One save of a label."""

    id: int
    number: int
    action: str
    user: str | None
    schema_number: int
    value: Json
    created_at: str


class HistoryOut(Out):
    """The newest saves first."""

    items: list[RevisionOut]
    next_before: int | None = Field(description="ask again with before= this; null at the end")


# -- labeling ----------------------------------------------------------------------------------------------------------


class NextIn(In):
    """Which document comes next."""

    after: Key | None = Field(
        None, description="go on behind this one; left out, one's own unfinished work comes first"
    )


class Proposed(Out):
    """The pre-label of an open document."""

    id: int
    model: str
    value: Json
    confidence: dict[str, Any]


class RejectionOut(Out):
    """Why a label came back."""

    by: str
    reason: str
    at: str


class OpenedOut(Out):
    """A document, open. ``version`` and ``schema_number`` go with what is saved of it."""

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
    evidence: dict[str, Any] = Field(description="field path -> where it stands in the text")
    submitted: bool
    author: str | None
    problems: list[RowOrField] = Field(description="what the schema rejects")
    warnings: list[RowOrField] = Field(description="rules that do not hold, and values that are not in the text")
    prediction: Proposed | None
    rejection: RejectionOut | None
    returned: str | None = Field(description="why a change of the schema put it back into the queue")
    open_comments: int
    own_only: bool = Field(description="several people label it, each unseen by the others")
    held_by: str | None = Field(description="somebody else has it open")
    url: str


class SaveIn(In):
    """A label. Names that are left out have the values shown."""

    value: Value = Field(description="the whole value, as the schema has it")
    base_version: Version = Field(description="the version it was made from; 0 where there was none")
    schema_number: Number_ | None = Field(None, description="the schema version it was made for; left out, the newest")
    evidence: dict[str, Any] = Field({}, max_length=5_000)
    seconds: Number = Field(0, ge=0, le=86_400, description="spent since the last save")
    field_seconds: dict[str, Number] = Field({}, max_length=MAX_FIELDS)
    prediction: Key | None = Field(None, description="the pre-label it began as")


class ClashOut(Out):
    """A field that two people changed; the caller's value stays."""

    field: str
    theirs: Json = None
    absent: bool = Field(description="they took it away")


class SavedOut(Out):
    """What a save left. ``merged``: fields that somebody else changed meanwhile and that are now theirs."""

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
    """Why a label was not submitted. It was kept as a draft: ``saved``."""

    saved: SavedOut | None = None


class SkipIn(In):
    """Why a document cannot be labelled."""

    reason: Text = Field(min_length=1, max_length=300)


class TagsIn(In):
    """The failure tags a document has from now on."""

    tags: list[Text] = Field(max_length=100)


class TagsOut(Out):
    """The tags in the order of the vocabulary."""

    tags: list[str]


class RestoreIn(In):
    """Which revision is written again."""

    revision: Key
    base_version: Version


class CommentIn(In):
    """Something to say about a document, or about one field of it."""

    text: Text = Field(min_length=1, max_length=4_000)
    field: Text = Field("", max_length=300, description="a path, as line_items[0].amount; left out, the document")


class CommentOut(Out):
    """A comment."""

    id: int
    user: str | None
    field: str
    text: str
    created_at: str
    resolved_at: str | None
    resolved_by: str | None


class CommentsOut(Out):
    """The oldest first."""

    items: list[CommentOut]


# -- review ------------------------------------------------------------------------------------------------------------


class ApproveIn(In):
    """An approval; with ``value`` the label is put right first."""

    base_version: Version
    value: Json = Field(None, description="left out or null: as it stands")
    evidence: dict[str, Any] = Field({}, max_length=5_000)


class RejectIn(In):
    """Why a label goes back; its author sees it."""

    reason: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(min_length=1, max_length=1_000)
    base_version: Version | None = Field(
        None, description="the version that was looked at; left out, whatever is there"
    )


class AdjudicateIn(In):
    """What counts where those who labelled a document disagree."""

    value: Value
    base_version: Version
    evidence: dict[str, Any] = Field({}, max_length=5_000)


class UnderReviewOut(Out):
    """A label as a reviewer finds it."""

    id: int
    external_id: str
    state: State
    text: str
    schema_number: int
    version: int = Field(description="send it as base_version of the decision")
    value: Json
    evidence: dict[str, Any]
    author: str | None = Field(description="null for an import")
    problems: list[RowOrField]
    warnings: list[RowOrField]
    refusal: str = Field(description="why the caller cannot decide; empty where they can")
    held_by: str | None


class ReviewedOut(Out):
    """Where the document stands now."""

    id: int
    state: State
    decision: Literal["approve", "fix", "reject", "adjudicate"]
    reviewer: str | None
