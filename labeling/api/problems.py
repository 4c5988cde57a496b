"""Errors as problem objects (RFC 9457): a status, a message, and the rows or fields with errors."""

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

from labeling.imports.uploads import MAX_UPLOAD
from slmstudio.contract.json_text import JsonError
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import is_disk_full
from slmstudio.web.views import insufficient_storage, problem

logger = logging.getLogger(__name__)

#: codes of refusals of which the state of an object is the reason, and not what was sent
_STATE_CODES = (
    "busy", "changed", "conflict", "decided", "deployed", "ended", "independent", "issued", "kind", "migration",
    "model_changed", "no_candidate", "no_label", "no_previous", "no_stable", "not_approved", "not_broken",
    "not_deployed", "not_ended", "not_finished", "not_shown", "not_waived", "revision", "storage", "submitted",
    "too_many_live", "withdrawn",
)  # fmt: skip
#: statuses of refusals by their code; others are 422
_STATUSES = {
    **dict.fromkeys(_STATE_CODES, 409),
    "own_involvement": 403, "own_label": 403, "too_large": 413, "too_many": 413, "disk_full": 507,
}  # fmt: skip
#: fields of services -> of requests
_FIELDS = {"eval_run": "evaluation"}
#: messages by error type of pydantic; other types keep their own message
_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing_size": "is too large",
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
        """The response."""
        return problem(self.status, self.detail, self.errors, self.more, self.headers)


def authentication_required() -> Problem:
    """401 for a request without a token or session."""
    return Problem(
        401,
        "Send a token: Authorization: Bearer slm_... Create tokens on the project's token page.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def field_problem(field: str, message: str) -> Problem:
    """The error of a field."""
    return Problem(422, message, [{"field": field, "message": message}])


def _refused(request: HttpRequest, refusal: Refused) -> HttpResponse:
    """A rejected request, with the fields to change. Its ``code`` is that of the refusal, or ``invalid``."""
    code = refusal.code or "invalid"
    errors = {_FIELDS.get(name, name): text for name, text in refusal.errors.items() if name not in ("", "form")}
    rows = [{"field": name, "message": text} for name, text in errors.items()]
    return problem(_STATUSES.get(code, 422), refusal.message, rows, {"code": code})


def install(api: NinjaAPI) -> None:
    """Registers handlers that turn every exception into a problem object."""
    handlers: dict[type[Exception], Any] = {
        Problem: lambda request, error: error.response(),
        Refused: _refused,
        ValidationError: _invalid,
        HttpError: _http_error,
        Http404: lambda request, error: problem(404, "The object does not exist, or you have no access to it."),
        PermissionDenied: lambda request, error: problem(403, str(error) or "Your role does not allow this."),
        RequestDataTooBig: lambda request, error: payload_too_large(),
        SuspiciousOperation: lambda request, error: problem(400, "The request is malformed."),
        MultiPartParserError: lambda request, error: problem(400, "The upload is not well-formed multipart/form-data."),
        OSError: _system_error,
        UnreadablePostError: lambda request, error: problem(400, "The request ended before its body was complete."),
        Exception: _internal_error,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def payload_too_large(files: bool = False) -> HttpResponse:
    """413 with the limit and the alternative."""
    if files:
        size = f"{MAX_UPLOAD // 2**30} GB"
        return problem(413, f"An upload can be at most {size}. Split it into several imports.")
    limit = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) // 2**20
    return problem(
        413, f"A body can be at most {limit} MB. Send a file (multipart/form-data) to imports, or several requests."
    )


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    cause = error.__cause__
    if isinstance(cause, JsonError):
        place = {"line": cause.line, "column": cause.column}
        return problem(400, f"The body is not valid JSON: {cause}.", more=place)
    if error.status_code == 401:
        return authentication_required().response()
    return problem(error.status_code, str(error))


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    errors = [_field_error(item) for item in error.errors[:50]]
    first = errors[0] if errors else {"field": "", "message": "is not valid"}
    more = f"; and {len(error.errors) - 1} more" if len(error.errors) > 1 else ""
    name = first["field"] or "The body"
    return problem(422, f"{name} {first['message']}{more}.", errors)


def _field_error(item: Mapping[str, Any]) -> dict[str, Any]:
    place = list(item.get("loc", ()))
    # ("body", name of the argument, ...) or ("query", name), then the path.
    start = 2 if place[:1] in (["body"], ["form"], ["file"]) else 1
    path = ""
    for part in place[start:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    kind = str(item.get("type", ""))
    message = _MESSAGES.get(kind)
    if message is None:
        text = str(item.get("msg", "is not valid")).removeprefix("Value error, ")
        message = text if text.startswith("must ") else f"is not valid: {text[:1].lower()}{text[1:300]}"
    return {"field": path[:300], "message": message}


def _system_error(request: HttpRequest, error: OSError) -> HttpResponse:
    return insufficient_storage(request) if is_disk_full(error) else _internal_error(request, error)


def _internal_error(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.exception("%s %s failed", request.method, request.path)
    got_request_exception.send(sender=type(request), request=request)
    return problem(500, "Internal server error. Try again later. Details are in the server log.")
