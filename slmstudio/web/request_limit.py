"""A limit of requests of one user, against programs that read or create everything with the pages.

It is counted in each process, so that pages stay available while Valkey does not respond. REST has its own limit.
"""

import time
from collections import Counter
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from slmstudio.web.views import too_many_requests

_SECONDS = 60


class _Counts:
    """Requests by user in the current minute."""

    minute = 0
    by_user: Counter[int] = Counter()


def limit_requests(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: 429 for a user with more than ``API_REQUESTS_PER_MINUTE`` requests."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        user = request.user
        is_page = user.is_authenticated and not request.path.startswith("/api/")
        if is_page and _count(user.pk or 0) > settings.API_REQUESTS_PER_MINUTE:
            text = "You have sent too many requests. Wait a minute, then try again."
            return too_many_requests(request, text, _SECONDS, title="Too many requests")
        return get_response(request)

    return middleware


def _count(user: int) -> int:
    minute = int(time.time()) // _SECONDS
    if _Counts.minute != minute:
        _Counts.minute, _Counts.by_user = minute, Counter()
    _Counts.by_user[user] += 1
    return _Counts.by_user[user]
