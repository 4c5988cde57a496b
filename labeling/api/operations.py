"""The arguments of operations: scope, responses and errors."""

from collections.abc import Mapping, Sequence
from typing import Any

from labeling.api.schemas import ProblemOut
from labeling.integrations.tokens import ACTIONS

_STATUS_TEXTS = {
    400: "The body is not valid JSON.",
    401: "The token is missing or invalid.",
    403: "The scope of the token or the role of its member does not allow this.",
    404: "The object does not exist, or you have no access to it.",
    409: "The object was changed by another user, or its state does not allow this.",
    413: "The body is larger than 20 MB.",
    415: "The content type is not supported.",
    422: "A field, row or value is invalid; `errors` lists them.",
    429: "Too many requests in a minute; wait for `Retry-After` seconds.",
    507: "The server disk is full.",
}


def operation(
    scope: str,
    ok: Any,
    *more: int,
    status: int = 200,
    also: Mapping[int, Any] | None = None,
    files: Sequence[str] = (),
    is_sparse: bool = False,
    **extra: Any,
) -> dict[str, Any]:
    """The arguments of an operation: its scope, response and errors.

    ``more``: further error statuses than 401, 403, 404, 422 and 429; ``also``: statuses with another response;
    ``files``: content types of a response that is not JSON; ``is_sparse``: the response omits optional members that are
    not set; ``extra``: further keys of the OpenAPI operation.
    """
    codes = sorted({401, 403, 404, 422, 429, *more})
    return {
        "by_alias": True,
        "exclude_unset": is_sparse,
        "response": {status: ok, **dict.fromkeys(codes, ProblemOut), **(also or {})},
        "openapi_extra": {
            "x-scope": scope,
            "x-needs": ACTIONS[scope].value,
            **({"x-files": list(files)} if files else {}),
            **extra,
        },
    }


def status_text(status: int) -> str:
    """The meaning of a status."""
    return _STATUS_TEXTS.get(status, "Done.")
