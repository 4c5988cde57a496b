"""Middleware: the ID of a request, which its response and all lines of the log about it have."""

import logging
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from slmstudio.logs.json_lines import sane_id, set_log_facts
from slmstudio.web.addresses import client_address

HEADER = "X-Request-Id"
access_log = logging.getLogger("slmstudio.access")


def identify(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: takes the ID from ``X-Request-Id`` or makes one; as JSON, the log has a line for each request."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        began, number = time.monotonic(), sane_id(request.headers.get(HEADER))
        set_log_facts(request_id=number, address=client_address(request), user=lambda: _user_name(request))
        answer = get_response(request)
        if "public" not in answer.get("Cache-Control", ""):  # a file has nothing to look up in a log
            answer[HEADER] = number
        if settings.LOG_FORMAT == "json":
            log_access(request.method or "", request.path, answer.status_code, began)
        return answer

    return middleware


def on_finished(**more: object) -> None:
    """Receiver of Django's signal, which follows the last line about a request."""
    set_log_facts()


def log_access(method: str, path: str, status: int, began: float) -> None:
    """One line for a request. Queries are left out: they can contain texts."""
    facts = {"method": method, "path": path, "status": status, "ms": round(1000 * (time.monotonic() - began), 1)}
    access_log.info("%s %s %s", method, path, status, extra={"facts": facts})


def _user_name(request: HttpRequest) -> str:
    """The user of the session or token, where it was read already: the log makes no queries."""
    user = getattr(getattr(request, "auth", None), "user", None) or getattr(request, "_cached_user", None)
    return user.get_username() if user is not None else ""
