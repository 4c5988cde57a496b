"""Tokens: list and revoke them. They are created on the project's token page."""

from django.http import HttpRequest, HttpResponse
from ninja import Router

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas.tokens import TokensOut
from labeling.api.wire import answer, at, nothing
from labeling.integrations import tokens as service
from labeling.models import ApiToken

router = Router(tags=["tokens"])


@router.get("", summary="List tokens", **operation("read", TokensOut))
def tokens(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The user's active tokens of this project, newest first."""
    project = project_of(request)
    who = caller(request)
    items = [
        {
            "id": row.pk,
            "name": row.name,
            "prefix": row.prefix,
            "scopes": row.scopes,
            "created_at": at(row.created_at),
            "expires_at": at(row.expires_at),
            "last_used_at": at(row.last_used_at),
            "this": who.token is not None and row.pk == who.token.pk,
        }
        for row in service.active_tokens(project, who.user)
    ]
    return answer({"items": items})


@router.delete("/{int:pk}", summary="Revoke a token", **operation("read", None, status=204))
def revoke_token(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Revokes a token of the user. With a token, only that token can be revoked."""
    who = caller(request)
    token = object_of(request, ApiToken.objects.filter(user=who.user), pk=pk)
    if who.token is not None and who.token.pk != token.pk:
        raise Problem(403, "A token can only revoke itself. Revoke others on the project's token page.")
    service.revoke(token=token, user=who.user)
    return nothing()
