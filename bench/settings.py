"""The project's settings, with the number of queries of each response in a header."""

from collections.abc import Callable
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse

from bench.harness import QUERIES
from slmstudio.settings import *  # noqa: F403
from slmstudio.settings import MIDDLEWARE

MIDDLEWARE = ["bench.settings.count_queries", *MIDDLEWARE]


class _Counter:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        self.count += 1
        return execute(sql, params, many, context)


def count_queries(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The middleware. Statements of a streamed body come after the headers and are not counted."""

    def middleware(request: HttpRequest) -> HttpResponse:
        counter = _Counter()
        with connection.execute_wrapper(counter):
            response = get_response(request)
        response[QUERIES] = str(counter.count)
        return response

    return middleware
