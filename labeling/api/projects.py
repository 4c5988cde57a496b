"""Projects of the user, and their contracts."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas.projects import ContractOut, DraftIn, DraftOut, ProjectOut, ProjectsOut
from labeling.api.wire import answer
from labeling.contract.label_examples import draft_from_labels
from labeling.contract.schema_text import notes_of
from labeling.integrations.tokens import scopes_for
from labeling.models import Contract, Document, Membership
from slmstudio.contract.decoding.grammar import unsupported
from slmstudio.contract.json_text import loads
from slmstudio.contract.sources.detection import draft_schema
from slmstudio.contract.sources.drafts import Draft, SourceError

router = Router(tags=["projects"])


@router.get("", summary="List projects", **operation("read", ProjectsOut))
def projects(request: HttpRequest) -> HttpResponse:
    """The projects of the user; with a token, its project."""
    who = caller(request)
    rows = Membership.objects.filter(user=who.user).select_related("project").order_by("project__name", "pk")
    if who.token is not None:
        rows = rows.filter(project=who.token.project)
    return answer({"items": [_out(request, row.project, row.role) for row in rows]})


@router.get("/{slug:slug}", summary="Get a project", **operation("read", ProjectOut))
def project(request: HttpRequest, slug: Slug) -> HttpResponse:
    """A project with its number of documents by state."""
    current = project_of(request)
    counts = Document.objects.filter(project=current).counts_by_state()
    more = {"schema_number": current.schema_version.number, "documents": counts}
    return answer({**_out(request, current, current.role), **more})


@router.get("/{slug:slug}/contract", summary="Get the contract", **operation("read", ContractOut, 422))
def contract(
    request: HttpRequest, slug: Slug, version: int | None = Query(None, ge=1, lt=2**31, description="a schema version")
) -> HttpResponse:
    """Instruction, JSON Schema and constraints; of the newest schema version by default."""
    current = project_of(request)
    versions = {row.number: row for row in current.schema_versions.order_by("number")}
    shown = versions.get(version if version is not None else max(versions))
    if shown is None:
        raise Problem(404, f"There is no schema version {version}.")
    row = Contract.objects.get(project=current)
    return answer(
        {
            "instruction": row.instruction,
            "schema_number": shown.number,
            "schema_sha256": shown.sha256,
            "schema": loads(shown.schema_text),
            "schema_notes": notes_of(shown.source_text),
            "constraints": row.constraints,
            "versions": list(versions),
        }
    )


@router.post("/{slug:slug}/contract/drafts", summary="Draft a schema", **operation("contract", DraftOut, 400, 413))
def schema_draft(request: HttpRequest, slug: Slug, body: DraftIn) -> HttpResponse:
    """The schema that a text describes, or that the labels of the project show, with the reason of each inference.
    Nothing is saved. 422 says what cannot be read, with its `line` if it is known; for source code, which line of code
    prints its schema.
    """
    current = project_of(request)
    try:
        draft = draft_from_labels(current)[0] if body.labels else draft_schema(body.text)
    except SourceError as error:
        field = "labels" if body.labels else "text"
        place = {"line": error.line} if error.line else {}
        raise Problem(422, error.message, [{"field": field, "message": error.message}], place) from error
    return answer(draft_out(draft))


def draft_out(draft: Draft) -> dict[str, Any]:
    """A draft as in responses."""
    return {**draft.as_dict(), "unsupported": unsupported(draft.schema)}


def _out(request: HttpRequest, row: Any, role: str) -> dict[str, Any]:
    token = caller(request).token
    usable = scopes_for(role)
    return {
        "slug": row.slug,
        "name": row.name,
        "role": role,
        "scopes": [scope for scope in usable if token is None or scope in token.scopes],
        "review_required": row.review_required,
        "url": row.get_absolute_url(),
    }
