"""Negotiates which parameters an OpenAI-compatible server accepts: response format, token limit, temperature, logprobs.

Servers differ, and most of them say what they reject. A client starts with the most that an endpoint may support and
asks for less after each rejection, until the server has answered once. Pure: no HTTP here.
"""

import threading
from dataclasses import dataclass, field, replace
from typing import Any

from evaluation.inference.completion import Completion, ResponseStatus

#: the parameters that limit tokens: the current one, and the older one from before reasoning models
TOKEN_LIMIT_PARAMETERS = ("max_completion_tokens", "max_tokens")
RESPONSE_FORMATS = ("json_schema", "json_object", "free")
#: a server that generates this many times the limit ignores the parameter
_IGNORED_LIMIT_RATIO = 1.5
#: how servers say that they do not know a parameter; a value that is too large is reported in other words
_UNKNOWN_PARAMETER = (
    "unsupported", "not supported", "does not support", "unknown", "unrecognized", "unrecognised", "not recognized",
    "unexpected", "extra_", "extra input", "extra field", "extra param", "not permitted", "not allowed", "forbidden",
)  # fmt: skip
#: parts of a request that an error without ``param`` may name in its message
_OTHER_PARAMETERS = ("response_format", "json_schema", "json_object", "temperature", "logprob")


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The optional parameters of a request: response format, whether it asks for log-probabilities, the name of the
    token limit, and whether it sets a temperature of 0."""

    response_format: str
    logprobs: bool
    limit_name: str
    temperature: bool

    def as_dict(self) -> dict[str, Any]:
        """As it is stored with a run and a test."""
        return {
            "response_format": self.response_format,
            "logprobs": self.logprobs,
            "limit_name": self.limit_name,
            "temperature": self.temperature,
        }


class OptionNegotiator:
    """The options of one endpoint during one run. Safe to use from several threads."""

    def __init__(
        self, options: RequestOptions, *, may_change_format: bool, max_tokens: int, limit_name_known: bool
    ) -> None:
        """``may_change_format``: a weaker response format may be used. ``limit_name_known``: the endpoint has answered
        with this limit name before."""
        self.options = options
        #: whether the server has answered with these options
        self.confirmed = False
        self._may_change_format = may_change_format
        self._max_tokens = max_tokens
        self._limit_name_known = limit_name_known
        self._other_limit_names = [name for name in TOKEN_LIMIT_PARAMETERS if name != options.limit_name]
        #: the limit name to return to while the other one is on probation, before any answer
        self._previous_limit_name = ""
        self._lock = threading.Lock()

    def downgrade(self, used: RequestOptions, completion: Completion) -> bool:
        """Asks for less after a rejected request. False where nothing less is left to ask for."""
        with self._lock:
            if self.options != used:
                return True  # another thread changed them in the meantime
            parameter, message = completion.rejected_parameter, completion.detail.casefold()
            unspecific = _is_unspecific_error(parameter, message)
            if self._previous_limit_name and (unspecific or _is_limit_error(parameter, message)):
                self.options, self._previous_limit_name = replace(used, limit_name=self._previous_limit_name), ""
                return True
            if self.confirmed:
                return False
            lower = self._lower(used, parameter, message)
            if lower is None:
                return False
            self.options = lower
            return True

    def _lower(self, used: RequestOptions, parameter: str, message: str) -> RequestOptions | None:
        """``parameter``: the one that the server names, "" for none."""
        if parameter == "reasoning_effort" or (not parameter and "reasoning_effort" in message):
            return None  # set on purpose
        if _is_limit_error(parameter, message):
            return self._with_other_limit_name(used) if any(word in message for word in _UNKNOWN_PARAMETER) else None
        if _is_unspecific_error(parameter, message) and self._other_limit_names:
            return self._on_probation(used)
        if used.temperature and (parameter == "temperature" or (not parameter and "temperature" in message)):
            return replace(used, temperature=False)
        place = RESPONSE_FORMATS.index(used.response_format)
        can_weaken = self._may_change_format and place + 1 < len(RESPONSE_FORMATS)
        if used.logprobs and ("logprob" in message or not can_weaken):
            return replace(used, logprobs=False)
        return replace(used, response_format=RESPONSE_FORMATS[place + 1]) if can_weaken else None

    def _with_other_limit_name(self, used: RequestOptions) -> RequestOptions | None:
        """With the other name of the token limit, once."""
        return replace(used, limit_name=self._other_limit_names.pop()) if self._other_limit_names else None

    def _on_probation(self, used: RequestOptions) -> RequestOptions:
        """With the other limit name on suspicion only: its first rejection restores the old name for good. Unchanged
        where both names were tried."""
        renamed = self._with_other_limit_name(used)
        if renamed is None:
            return used
        self._previous_limit_name = used.limit_name
        return renamed

    def detect_ignored_limit(self, used: RequestOptions, completion: Completion) -> None:
        """Switches the limit name where the server seems to ignore it: it generates far more than the limit, or does
        not finish in time. Servers may skip an unknown parameter without an error."""
        answered = completion.http_status == 200
        exceeded = (
            answered and not completion.estimated and completion.output_tokens > _IGNORED_LIMIT_RATIO * self._max_tokens
        )
        with self._lock:
            if self.options.limit_name != used.limit_name:
                return
            if answered:
                self._previous_limit_name = ""
            late = completion.status == ResponseStatus.TIMEOUT and not self.confirmed and not self._limit_name_known
            if (exceeded or late) and self.options == used:
                self.options = self._on_probation(used)


def _is_limit_error(parameter: str, message: str) -> bool:
    """Whether an error is about the token limit. ``parameter``: the one it names, "" for none; ``message``: in lower
    case."""
    return parameter in TOKEN_LIMIT_PARAMETERS or (
        not parameter and any(name in message for name in TOKEN_LIMIT_PARAMETERS)
    )


def _is_unspecific_error(parameter: str, message: str) -> bool:
    """Whether an error does not say which part of the request it is about."""
    named = (*TOKEN_LIMIT_PARAMETERS, *_OTHER_PARAMETERS, "reasoning_effort")
    return not parameter and not any(name in message for name in named)


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How an endpoint is called. ``key`` goes into the Authorization header and nowhere else.

    ``reasoning_effort``: as OpenAI names it; "" sends none. ``limit_name`` and ``temperature``: which token limit
    parameter it was found to take, and whether it takes a temperature. ``limit_known``: it has answered with this
    limit name before. ``window_tokens``: a longer document is read in windows of this size; None: never.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    structured: str = "auto"
    logprobs: bool = True
    timeout_seconds: float = 60
    concurrency: int = 4
    max_tokens: int = 1024
    reasoning_effort: str = ""
    limit_name: str = TOKEN_LIMIT_PARAMETERS[0]
    temperature: bool = True
    limit_known: bool = False
    window_tokens: int | None = None

    def with_timeout(self, seconds: float) -> "EndpointConfig":
        """The same with a timeout of at most ``seconds``."""
        return replace(self, timeout_seconds=min(self.timeout_seconds, seconds))
