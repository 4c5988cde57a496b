"""Projects of the caller, and their contracts."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from labeling.api.access import Slug, caller, project_of
from labeling.api.problems import Problem
from labeling.api.schemas.common import ContractOut, ProjectOut, ProjectsOut, about
from labeling.api.wire import answer
from labeling.integrations.tokens import scopes_for
from labeling.models import Contract, Document, Membership
from slmstudio.contract.json_text import loads

router = Router(tags=["projects"])


@router.get("", summary="List my projects", **about("read", ProjectsOut))
def projects(request: HttpRequest) -> HttpResponse:
    """The projects of the caller: with a token the one it is for."""
    who = caller(request)
    rows = Membership.objects.filter(user=who.user).select_related("project").order_by("project__name", "pk")
    if who.token is not None:
        rows = rows.filter(project=who.token.project)
    return answer({"items": [_out(request, row.project, row.role) for row in rows]})


@router.get("/{slug:slug}", summary="Read a project", **about("read", ProjectOut))
def project(request: HttpRequest, slug: Slug) -> HttpResponse:
    """One project, with its documents counted by state."""
    found = project_of(request)
    counts = Document.objects.filter(project=found).counts_by_state()
    more = {"schema_number": found.schema_version.number, "documents": counts}
    return answer({**_out(request, found, found.role), **more})


@router.get("/{slug:slug}/contract", summary="Read the contract", **about("read", ContractOut, 422))
def contract(
    request: HttpRequest, slug: Slug, version: int | None = Query(None, ge=1, lt=2**31, description="a schema version")
) -> HttpResponse:
    """Instruction, JSON Schema and constraints; the newest schema version, or the one that is asked for."""
    found = project_of(request)
    versions = {row.number: row for row in found.schema_versions.order_by("number")}
    shown = versions.get(version if version is not None else max(versions))
    if shown is None:
        raise Problem(404, f"There is no schema version {version}.")
    row = Contract.objects.get(project=found)
    return answer(
        {
            "instruction": row.instruction,
            "schema_number": shown.number,
            "schema_sha256": shown.sha256,
            "schema": loads(shown.schema_text),
            "constraints": row.constraints,
            "versions": list(versions),
        }
    )


def _out(request: HttpRequest, found: Any, role: str) -> dict[str, Any]:
    token = caller(request).token
    usable = scopes_for(role)
    return {
        "slug": found.slug,
        "name": found.name,
        "role": role,
        "scopes": [scope for scope in usable if token is None or scope in token.scopes],
        "review_required": found.review_required,
        "url": found.get_absolute_url(),
    }
