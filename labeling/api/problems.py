"""Errors as problem objects (RFC 9457): a status, a sentence, and where it helps the rows or fields it is about."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from labeling.imports.services import MAX_UPLOAD
from slmstudio.contract.json_text import JsonError
from slmstudio.web.problems import problem

logger = logging.getLogger(__name__)

#: sentences for what pydantic finds; anything else says what it says itself
_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
}


class Problem(Exception):
    """Ends a request with a problem object. ``errors``: ``{"row" or "field", "message"}`` each."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Iterable[Mapping[str, Any]] = (),
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, [dict(error) for error in errors]
        self.more, self.headers = dict(more or {}), dict(headers or {})

    def response(self) -> HttpResponse:
        """The answer."""
        return problem(self.status, self.detail, self.errors, self.more, self.headers)


def no_token() -> Problem:
    """401 for a request that says nothing about who asks."""
    return Problem(
        401,
        "Send a token: Authorization: Bearer slm_... Tokens are made on the project's token page.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def field_problem(field: str, message: str, status: int = 422) -> Problem:
    """What a service says about one field, or about the whole where ``field`` is form."""
    errors = [] if field in ("", "form") else [{"field": field, "message": message}]
    return Problem(status, message, errors)


def install(api: NinjaAPI) -> None:
    """Every exception that can come out of an operation becomes a problem object; none becomes a page."""
    handlers: dict[type[Exception], Any] = {
        Problem: lambda request, error: error.response(),
        ValidationError: _invalid,
        HttpError: _http_error,
        Http404: lambda request, error: problem(404, "There is no such thing, or it is not yours to see."),
        PermissionDenied: lambda request, error: problem(403, str(error) or "Your role does not allow this."),
        RequestDataTooBig: lambda request, error: too_big(),
        SuspiciousOperation: lambda request, error: problem(400, "The request cannot be understood."),
        MultiPartParserError: lambda request, error: problem(400, "The upload is not well-formed multipart/form-data."),
        UnreadablePostError: lambda request, error: problem(400, "The request ended before its body was complete."),
        Exception: _unforeseen,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def too_big(files: bool = False) -> HttpResponse:
    """413, with the limit and the way around it."""
    if files:
        most = f"{MAX_UPLOAD // 2**30} GB"
        return problem(413, f"An upload may have at most {most}. Split it and import the parts one after the other.")
    limit = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) // 2**20
    return problem(
        413, f"A body may have at most {limit} MB. Send a file (multipart/form-data) to imports, or several requests."
    )


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    cause = error.__cause__
    if isinstance(cause, JsonError):
        place = {"line": cause.line, "column": cause.column}
        return problem(400, f"The body is not JSON as it is taken here: {cause}.", more=place)
    if error.status_code == 401:
        return no_token().response()
    return problem(error.status_code, str(error))


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [_field_error(item) for item in error.errors[:50]]
    first = errors[0] if errors else {"field": "", "message": "is not valid"}
    more = f"; and {len(error.errors) - 1} more" if len(error.errors) > 1 else ""
    name = first["field"] or "The body"
    return problem(422, f"{name} {first['message']}{more}.", errors)


def _field_error(item: Mapping[str, Any]) -> dict[str, Any]:
    place = list(item.get("loc", ()))
    # ("body", name of the argument, ...) or ("query", name): what the caller wrote comes after.
    start = 2 if place[:1] in (["body"], ["form"], ["file"]) else 1
    path = ""
    for part in place[start:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    kind = str(item.get("type", ""))
    message = _SENTENCES.get(kind)
    if message is None:
        said = str(item.get("msg", "is not valid")).removeprefix("Value error, ")
        message = said if said.startswith("must ") else f"is not valid: {said[:1].lower()}{said[1:300]}"
    return {"field": path[:300], "message": message}


def _unforeseen(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.exception("%s %s failed", request.method, request.path)
    got_request_exception.send(sender=type(request), request=request)
    return problem(500, "Something went wrong here; what went wrong is in the server's log. Try again later.")
