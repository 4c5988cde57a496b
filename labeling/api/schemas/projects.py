"""Projects and contracts."""

from typing import Any

from pydantic import Field

from labeling.api.schemas.base import Json, Out


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
