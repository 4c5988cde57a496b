"""Admission of large bodies: the server asks the application with a request without its body."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

#: bytes of a body that any client may send; for more the application is asked first
FREE_BODY = 2**20
#: environ key of an admission request
KEY = "slmstudio.admission"
#: response header that admits a body: its maximum size in bytes
ADMITTED = "X-Admitted-Body"


@dataclass(frozen=True)
class RejectedRequest:
    """The response to a request whose body is not read."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        """In the form that waitress expects of its own errors."""
        return self.status, self.headers, self.body


def check_admission(application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> int | RejectedRequest:
    """The maximum size of a request's body in bytes, or the response that rejects it."""
    answers: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        answers.append((status, headers))

    pieces = application({**environ, KEY: True, "wsgi.input": BytesIO(), "wsgi.file_wrapper": None}, start_response)
    try:
        body = b"".join(pieces)
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
    status, headers = answers[-1]
    admitted = next((value for name, value in headers if name.lower() == ADMITTED.lower()), None)
    return int(admitted) if admitted is not None else RejectedRequest(status, headers, body)
