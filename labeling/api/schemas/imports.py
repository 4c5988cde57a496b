"""Imports."""

from pydantic import Field

from labeling.api.schemas.base import Out, RowOrField


class ImportedOut(Out):
    """Rows = imported + duplicates + rejected."""

    imported: int
    duplicates: int = Field(description="their text exists; nothing was changed")
    rejected: int
    errors: list[RowOrField] = Field(description="the first hundred rejected rows, each with its reason")


class ImportRunOut(Out):
    """A background import."""

    id: int
    status: str = Field(description="queued, running, done, failed or cancelled")
    file_name: str
    kind: str
    encoding: str = Field(description="of texts, when it has ended")
    stage: str = Field(description="the current step; with the page of a PDF or image in a zip")
    rows_done: int
    rows_total: int | None
    imported: int
    duplicates: int
    rejected: int
    errors: list[RowOrField]
    error: str
    created_at: str
    finished_at: str | None
    url: str


class ImportRunsOut(Out):
    """Imports, the newest first."""

    items: list[ImportRunOut]
    next_before: int | None
