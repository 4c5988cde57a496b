"""Ends a run over an endpoint that keeps failing."""

from evaluation.inference.completion import Completion, ResponseStatus

#: (statuses, how many documents in a row with one of them end the run)
_LIMITS = (
    (
        {
            ResponseStatus.REFUSED,
            ResponseStatus.UNREACHABLE,
            ResponseStatus.WEB_PAGE,
            ResponseStatus.NO_COMPLETION,
        },
        5,
    ),
    ({ResponseStatus.BUSY, ResponseStatus.TIMEOUT}, 10),
)
#: HTTP statuses that end the run at once: no other document would be answered
_FORBIDDEN = (401, 402, 403, 404)


class EndpointError(Exception):
    """The whole run failed, not a single document; the message is a sentence."""


class CircuitBreaker:
    """Counts failures in a row of one endpoint during one run."""

    def __init__(self, endpoint_name: str) -> None:
        self._name = endpoint_name
        self._in_a_row = 0
        self._group: set[ResponseStatus] = set()

    def record(self, completion: Completion) -> None:
        """Counts one completion. Raises EndpointError where further requests would fail too."""
        group, limit = next((row for row in _LIMITS if completion.status in row[0]), (set(), 0))
        self._in_a_row = self._in_a_row + 1 if group and group == self._group else int(bool(group))
        self._group = group
        if completion.status == ResponseStatus.REFUSED and completion.http_status in _FORBIDDEN:
            raise EndpointError(f"Endpoint {self._name} rejected the request: {completion.detail}")
        if group and self._in_a_row >= limit:
            raise EndpointError(f"Endpoint {self._name} failed {limit} times in a row. Last error: {completion.detail}")
