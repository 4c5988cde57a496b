"""Tokens: a program sees which there are, and ends its own. They are made on the project's token page alone."""

from django.http import HttpRequest, HttpResponse
from ninja import Router

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.problems import Problem
from labeling.api.schemas.common import about
from labeling.api.schemas.data import TokensOut
from labeling.api.wire import answer, at, nothing
from labeling.integrations import tokens as service
from labeling.models import ApiToken

router = Router(tags=["tokens"])


@router.get("", summary="List my tokens", **about("read", TokensOut))
def tokens(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The caller's tokens of this project that are not revoked, the newest first."""
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
        for row in service.alive(project, who.user)
    ]
    return answer({"items": items})


@router.delete("/{int:pk}", summary="Revoke a token", **about("read", None, status=204))
def revoke_token(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Ends a token of the caller for good. A request that comes with a token can only end that one."""
    who = caller(request)
    token = object_of(request, ApiToken.objects.filter(user=who.user), pk=pk)
    if who.token is not None and who.token.pk != token.pk:
        raise Problem(403, "With a token only that token can be revoked; others on the project's token page.")
    service.revoke(token=token, user=who.user)
    return nothing()
