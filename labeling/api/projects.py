"""Projects of the user, and their contracts."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas.projects import ContractOut, ProjectOut, ProjectsOut
from labeling.api.wire import answer
from labeling.contract.schema_text import notes_of
from labeling.integrations.tokens import scopes_for
from labeling.models import Contract, Document, Membership
from slmstudio.contract.json_text import loads

router = Router(tags=["projects"])


@router.get("", summary="List my projects", **operation("read", ProjectsOut))
def projects(request: HttpRequest) -> HttpResponse:
    """The projects of the user; with a token, its project."""
    who = caller(request)
    rows = Membership.objects.filter(user=who.user).select_related("project").order_by("project__name", "pk")
    if who.token is not None:
        rows = rows.filter(project=who.token.project)
    return answer({"items": [_out(request, row.project, row.role) for row in rows]})


@router.get("/{slug:slug}", summary="Read a project", **operation("read", ProjectOut))
def project(request: HttpRequest, slug: Slug) -> HttpResponse:
    """A project with its number of documents by state."""
    current = project_of(request)
    counts = Document.objects.filter(project=current).counts_by_state()
    more = {"schema_number": current.schema_version.number, "documents": counts}
    return answer({**_out(request, current, current.role), **more})


@router.get("/{slug:slug}/contract", summary="Read the contract", **operation("read", ContractOut, 422))
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
