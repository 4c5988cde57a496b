"""JSON of requests and responses: strict and exact, as everywhere in the project."""

from typing import Any, cast

from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from ninja.parser import Parser
from ninja.renderers import BaseRenderer

from slmstudio.contract.json_text import dumps, loads

JSON = "application/json"


class ExactParser(Parser):
    """Bodies: numbers as Decimal with all digits; duplicate names, NaN and similar values are errors."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        # DATA_UPLOAD_MAX_MEMORY_SIZE limits the size.
        return cast("dict[str, Any]", loads(request.body, max_characters=None))

    def parse_querydict(self, data: MultiValueDict, list_fields: list[str], request: HttpRequest) -> dict[str, Any]:
        """As in ninja, without empty values, as in the forms of the pages."""
        values = super().parse_querydict(data, list_fields, request)
        return {name: value for name, value in values.items() if value not in ("", [])}


class ExactRenderer(BaseRenderer):
    """Responses: Decimals as exact numbers."""

    media_type = JSON

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> str:
        return dumps(data)
