"""JSON of the REST interface in and out: strict and exact, as everywhere in the project."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.utils.datastructures import MultiValueDict
from ninja.parser import Parser
from ninja.renderers import BaseRenderer

from slmstudio.contract.json_text import dumps, loads, text_fits

JSON = "application/json"


class ExactParser(Parser):
    """Bodies: fractions as Decimal with all their digits; duplicate names, NaN and the like are refused."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        # The size is bounded by DATA_UPLOAD_MAX_MEMORY_SIZE, so that of the text need not be.
        return cast("dict[str, Any]", loads(request.body, max_characters=None))

    def parse_querydict(self, data: MultiValueDict, list_fields: list[str], request: HttpRequest) -> dict[str, Any]:
        """As ninja does; an empty value is one that was not given, as in the forms of the pages."""
        found = super().parse_querydict(data, list_fields, request)
        return {name: value for name, value in found.items() if value not in ("", [])}


class ExactRenderer(BaseRenderer):
    """Answers: Decimals as the numbers they are."""

    media_type = JSON

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> str:
        return dumps(data)


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An answer as JSON. Values are plain; the models in the description document it and do not cost time here."""
    return HttpResponse(dumps(data), status=status, content_type=JSON, headers=dict(headers or {}))


def nothing() -> HttpResponse:
    """204."""
    return HttpResponse(status=204)


def at(moment: datetime | None) -> str | None:
    """A moment in ISO 8601, in UTC."""
    return None if moment is None else moment.isoformat()


def clean(text: str) -> bool:
    """Whether a text has nothing that neither UTF-8 nor the database can hold."""
    return text_fits(text)
