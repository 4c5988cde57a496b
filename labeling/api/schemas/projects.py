"""Projects and contracts."""

from typing import Any

from pydantic import Field

from labeling.api.schemas.base import In, Json, Out, Text
from slmstudio.contract.sources.detection import MAX_CHARACTERS


class ProjectOut(Out):
    """A project, and the role of the user."""

    slug: str
    name: str
    role: str
    scopes: list[str] = Field(description="the scopes that the user and token have")
    review_required: bool
    schema_number: int | None = Field(None, description="the newest schema version; only of a single project")
    documents: dict[str, int] | None = Field(None, description="counts by state; only of a single project")
    url: str


class ProjectsOut(Out):
    """The user's projects; a token has one."""

    items: list[ProjectOut]


class ContractOut(Out):
    """A contract."""

    instruction: str
    schema_number: int
    schema_sha256: str
    schema_: Json = Field(alias="schema", description="the JSON Schema, in the author's order of properties")
    schema_notes: list[str] = Field(description="what was translated or left out when the schema was pasted")
    constraints: dict[str, Any]
    versions: list[int]


class DraftIn(In):
    """What a schema is derived from: a text, or the labels of the project."""

    text: Text = Field(
        "",
        max_length=MAX_CHARACTERS,
        description="JSON examples, JSON Lines, or a JSON Schema of any draft or tool",
    )
    labels: bool = Field(
        False, description="derive it from the gold labels of the project and from labels that imports rejected"
    )


class ReasonOut(Out):
    """Why a field of a draft is as it is."""

    pattern: str = Field(description="the path of the field, with [] for rows; empty for the document")
    text: str


class DraftOut(Out):
    """A derived schema, for correction. It is not saved."""

    schema_: Json = Field(alias="schema")
    source: str = Field(description="what the text was: schema or examples")
    reasons: list[ReasonOut]
    notes: list[str] = Field(description="what was translated, or is in the text and not in the schema")
    unsupported: list[str] = Field(description="what constrained decoding does not enforce; it is checked afterward")
