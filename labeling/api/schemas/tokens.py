"""API tokens."""

from pydantic import Field

from labeling.api.schemas.base import Out


class TokenOut(Out):
    """A token without its secret."""

    id: int
    name: str
    prefix: str
    scopes: list[str]
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    this: bool = Field(description="the token of this request")


class TokensOut(Out):
    """The user's tokens of this project, newest first."""

    items: list[TokenOut]
