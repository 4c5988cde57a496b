"""Comments."""

from pydantic import Field

from labeling.api.schemas.base import In, Out, Text


class CommentIn(In):
    """A comment on a document or field."""

    text: Text = Field(min_length=1, max_length=4_000)
    field: Text = Field(
        "", max_length=300, description="a path, for example line_items[0].amount; default: the document"
    )


class CommentOut(Out):
    """A comment."""

    id: int
    user: str | None
    field: str
    text: str
    created_at: str
    resolved_at: str | None
    resolved_by: str | None


class CommentsOut(Out):
    """Comments, oldest first."""

    items: list[CommentOut]
