"""Projects of the user, and their contracts."""

from typing import Any

from django.http import HttpRequest
from ninja import Query, Router
from pydantic import Field

from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas import In, Items, Json, Out, Text
from labeling.contract.label_examples import draft_from_labels
from labeling.contract.schema_text import notes_of
from labeling.integrations.tokens import scopes_for
from labeling.models import Membership, Project
from slmstudio.contract.decoding.grammar import unsupported
from slmstudio.contract.json_text import loads
from slmstudio.contract.sources.detection import MAX_CHARACTERS, draft_schema
from slmstudio.contract.sources.examples import Draft, SourceError

router = Router(tags=["projects"])


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

    @staticmethod
    def resolve_unsupported(draft: Draft) -> list[str]:
        """Of its schema."""
        return unsupported(draft.schema)


@router.get("", summary="List projects", **operation("read", Items[ProjectOut], is_sparse=True))
def projects(request: HttpRequest) -> Any:
    """The projects of the user; with a token, its project."""
    who = caller(request)
    rows = Membership.objects.filter(user=who.user).select_related("project").order_by("project__name", "pk")
    if who.token is not None:
        rows = rows.filter(project=who.token.project)
    return {"items": [_row(request, row.project, row.role) for row in rows]}


@router.get("/{slug:slug}", summary="Get a project", **operation("read", ProjectOut))
def project(request: HttpRequest, slug: Slug) -> Any:
    """A project with its number of documents by state."""
    current = project_of(request)
    counts = current.documents.counts_by_state()
    return {
        **_row(request, current, current.role), "schema_number": current.schema_version.number, "documents": counts
    }  # fmt: skip


@router.get("/{slug:slug}/contract", summary="Get the contract", **operation("read", ContractOut))
def contract(
    request: HttpRequest, slug: Slug, version: int | None = Query(None, ge=1, lt=2**31, description="a schema version")
) -> Any:
    """Instruction, JSON Schema and constraints; of the newest schema version by default."""
    current = project_of(request)
    versions = {row.number: row for row in current.schema_versions.order_by("number")}
    shown = versions.get(version if version is not None else max(versions))
    if shown is None:
        raise Problem(404, f"There is no schema version {version}.")
    return {
        "instruction": current.contract.instruction,
        "schema_number": shown.number,
        "schema_sha256": shown.sha256,
        "schema": loads(shown.schema_text),
        "schema_notes": notes_of(shown.source_text),
        "constraints": current.contract.constraints,
        "versions": list(versions),
    }


@router.post("/{slug:slug}/contract/drafts", summary="Draft a schema", **operation("contract", DraftOut, 400, 413))
def schema_draft(request: HttpRequest, slug: Slug, body: DraftIn) -> Any:
    """The schema that a text describes, or that the labels of the project show, with the reason of each inference.
    Nothing is saved. 422 says what cannot be read, with its `line` if it is known; for source code, which line of code
    prints its schema.
    """
    try:
        return draft_from_labels(project_of(request))[0] if body.labels else draft_schema(body.text)
    except SourceError as error:
        field = "labels" if body.labels else "text"
        place = {"line": error.line} if error.line else {}
        raise Problem(422, error.message, [{"field": field, "message": error.message}], place) from error


def _row(request: HttpRequest, row: Project, role: str) -> dict[str, Any]:
    token = caller(request).token
    return {
        "slug": row.slug,
        "name": row.name,
        "role": role,
        "scopes": [scope for scope in scopes_for(role) if token is None or scope in token.scopes],
        "review_required": row.review_required,
        "url": row.get_absolute_url(),
    }
