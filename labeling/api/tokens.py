"""Tokens: list and revoke them. They are created on the project's token page."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas import Items, Moment, Out
from labeling.integrations import tokens as service
from labeling.models import ApiToken

router = Router(tags=["tokens"])


class TokenOut(Out):
    """A token without its secret."""

    id: int
    name: str
    prefix: str
    scopes: list[str]
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None
    this: bool = Field(description="the token of this request")

    @staticmethod
    def resolve_this(token: ApiToken, context: dict[str, Any]) -> bool:
        """Whether the request has it."""
        used = caller(context["request"]).token
        return used is not None and used.pk == token.pk


@router.get("", summary="List tokens", **operation("read", Items[TokenOut]))
def tokens(request: HttpRequest, slug: Slug) -> Any:
    """The user's active tokens of this project, newest first."""
    return {"items": service.active_tokens(project_of(request), caller(request).user)}


@router.delete("/{int:pk}", summary="Revoke a token", **operation("read", None, status=204))
def revoke_token(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Revokes a token of the user. With a token, only that token can be revoked."""
    who = caller(request)
    token = object_of(request, ApiToken.objects.filter(user=who.user), pk=pk)
    if who.token is not None and who.token.pk != token.pk:
        raise Problem(403, "A token can only revoke itself. Revoke others on the project's token page.")
    service.revoke(token=token, user=who.user)
    return HttpResponse(status=204)
