"""Reviews and adjudication."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from labeling.api.schemas.base import In, Json, Out, RowOrField, State, Text, Value, Version


class ApproveIn(In):
    """An approval; with ``value`` the label is corrected first."""

    base_version: Version
    value: Json = Field(None, description="default: the submitted value")
    evidence: dict[str, Any] = Field({}, max_length=5_000)


class RejectIn(In):
    """The reason of a rejection, for the author of the label."""

    reason: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(min_length=1, max_length=1_000)
    base_version: Version | None = Field(None, description="the version that was reviewed; default: any")


class AdjudicateIn(In):
    """The final label of a document with conflicting labels."""

    value: Value
    base_version: Version
    evidence: dict[str, Any] = Field({}, max_length=5_000)


class UnderReviewOut(Out):
    """A label under review."""

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
    refusal: str = Field(description="why the user cannot decide; empty if they can")
    held_by: str | None


class ReviewedOut(Out):
    """The new state of the document."""

    id: int
    state: State
    decision: Literal["approve", "fix", "reject", "adjudicate"]
    reviewer: str | None
