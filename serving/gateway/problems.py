"""Errors of the gateway as problem objects (RFC 9457), with a code for programs."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class GatewayProblem(Exception):
    """Ends a request with an error. ``code`` is stable; ``more`` has further members of the object."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers, self.more = dict(headers or {}), more
        #: whether the request has an entry in the log
        self.is_logged = False

    def as_dict(self, request_id: str) -> dict[str, Any]:
        """The object."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "request_id": request_id,
            **self.more,
        }

    def response(self, request_id: str) -> Response:
        """The response of our own interface."""
        body = orjson.dumps(self.as_dict(request_id))
        return Response(body, status_code=self.status, media_type=MEDIA_TYPE, headers=self._headers(request_id))

    def openai_response(self, request_id: str) -> Response:
        """The response of the OpenAI-compatible interface."""
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        error = {"message": self.detail, "type": kind, "param": self.more.get("field"), "code": self.code}
        return Response(
            orjson.dumps({"error": error}),
            status_code=self.status,
            media_type="application/json",
            headers=self._headers(request_id),
        )

    def _headers(self, request_id: str) -> dict[str, str]:
        return {"X-Request-Id": request_id, **self.headers}


def queue_full(detail: str, *, seconds: int = 1) -> GatewayProblem:
    """429 for a caller who may try again after some seconds."""
    return GatewayProblem(429, "queue_full", f"{detail} Try again later.", headers={"Retry-After": str(seconds)})


def unavailable(code: str, detail: str, *, seconds: int = 5) -> GatewayProblem:
    """503 for a caller who may try again after some seconds."""
    return GatewayProblem(503, code, detail, headers={"Retry-After": str(seconds)})
