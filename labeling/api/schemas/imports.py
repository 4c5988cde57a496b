"""Imports."""

from typing import Any

from pydantic import Field

from labeling.api.schemas.base import Out, RowOrField
from labeling.api.schemas.projects import DraftOut


class ImportedOut(Out):
    """Rows = imported + duplicates + rejected."""

    imported: int
    duplicates: int = Field(description="documents with a text that already exists; not changed")
    rejected: int
    errors: list[RowOrField] = Field(description="the first hundred rejected rows, each with its reason")


class ImportRunOut(Out):
    """A background import."""

    id: int
    status: str = Field(description="queued, running, done, failed or cancelled")
    file_name: str
    kind: str
    encoding: str = Field(description="encoding of the texts; set when the import has ended")
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
    """Imports, newest first."""

    items: list[ImportRunOut]
    next_before: int | None


class PreviewRowOut(Out):
    """A document as it would be stored."""

    row: int
    text: str
    answer: str = Field(description="JSON or text; empty if the exchange has no answer")
    problem: str = Field(description="why the answer does not match the schema; empty if it does")


class ExchangesOut(Out):
    """What a fine-tuning file, log or trace becomes."""

    shapes: str
    answers: int = Field(description="number of answers in the first rows")
    matching: int = Field(description="answers that match the project schema")
    instruction: str = Field(description="the shared prompt")
    documents: list[PreviewRowOut]
    is_demanded: bool = Field(
        description="true if the requests define the schema; false if it is derived from the answers"
    )
    draft: DraftOut | None = Field(description="the schema of the file; null if none can be derived")


class ColumnsOut(Out):
    """What the columns of a table become."""

    roles: dict[str, str] = Field(description="a role for each column; send them as the option columns")
    detected: dict[str, Any] = Field(description="options that were detected in the file")
    first_rows: list[list[str]]
    error: str = Field(description="why the table cannot be imported with these roles; empty if it can")


class ImportPreviewOut(Out):
    """The first rows of a file, as an import would read them."""

    kind: str
    rows: int
    valid: int
    errors: list[RowOrField] = Field(description="reasons for rejected rows, each with its first row")
    exchanges: ExchangesOut | None = Field(None, description="for fine-tuning files, logs and traces")
    columns: ColumnsOut | None = Field(None, description="for tables")
