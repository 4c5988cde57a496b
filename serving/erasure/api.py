"""Erasures over REST."""

from typing import Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.schemas import Before, In, Moment, Out, Page, Text, UserName, page
from serving.erasure import services

router = Router(tags=["erasure"])


class ErasureIn(In):
    """What is erased."""

    text: Text = Field(description="a name, an email address or a document's ID; as whole words, in any case")
    dry_run: bool = Field(False, description="only say where it is")


class FoundOut(Out):
    """Where a text is or was: place -> number."""

    counts: dict[str, int] = Field(description="what is erased")
    kept: dict[str, int] = Field(description="what has the text and stays, such as entries of the audit log")
    trained: list[str] = Field(description="models that were trained on a document with it")


class ErasureOut(FoundOut):
    """A report. The text is not stored."""

    id: int | None = Field(None, description="null: nothing was erased", validation_alias="pk")
    sha256: str = Field("", description="hash of the text in this project")
    created_by: UserName | None = None
    created_at: Moment | None = None


@router.post("", summary="Erase a text", operation_id="erase", **operation("erase", ErasureOut, 400, 409))
def erase(request: HttpRequest, slug: Slug, body: ErasureIn) -> Any:
    """Erases a text wherever the project stores it, and returns the report; with `dry_run`, where it is."""
    values = {"project": project_of(request), "user": caller(request).user, "text": body.text}
    return services.find(**values) if body.dry_run else services.erase(**values)


@router.get("", summary="List erasures", operation_id="erasures", **operation("erase", Page[ErasureOut]))
def erasures(request: HttpRequest, slug: Slug, before: Before = None) -> Any:
    """The reports, newest first."""
    return page(services.reports(project_of(request)), before)
