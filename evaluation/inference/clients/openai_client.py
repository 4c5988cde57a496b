"""Client of an OpenAI-compatible endpoint: one prompt in, one Completion out. Knows HTTP, no database.

The protocol is POST /chat/completions as documented by OpenAI (platform.openai.com/docs/api-reference/chat) and
implemented by vLLM, Ollama, llama.cpp, LM Studio and most hosted models. Responses are not trusted: size and time are
bounded, and every failure becomes a status, never an exception.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx

from evaluation.inference.clients.openai_options import (
    RESPONSE_FORMATS,
    EndpointConfig,
    OptionNegotiator,
    RequestOptions,
)
from evaluation.inference.clients.openai_response import error_message, parse_completion, rejected_parameter
from evaluation.inference.completion import Completion, ResponseStatus
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.errors import Refused
from slmstudio.web import outbound
from training.prompts import Message, prompt_schema

MAX_RESPONSE_BYTES = 1024 * 1024
#: what log-probabilities can add to a response
BYTES_PER_TOKEN = 512
MAX_ATTEMPTS = 4
INITIAL_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
_RETRY_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_TOO_LONG_ERRORS = (
    "context_length", "context length", "maximum context", "context size", "too many tokens", "prompt is too long",
)  # fmt: skip
#: a completion, and after how many seconds the request may be retried (None: not at all)
Attempt = tuple[Completion, float | None]


class OpenAIClient:
    """One endpoint during one run. ``complete`` may be called from several threads."""

    def __init__(
        self,
        config: EndpointConfig,
        stop: threading.Event,
        *,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        """``stop``: once set, no request is sent and no pause continues. ``max_attempts``: requests per prompt."""
        self._config = config
        self._max_attempts = max_attempts
        self._stop = stop
        automatic = config.structured == "auto"
        first = RESPONSE_FORMATS[0] if automatic else config.structured
        self._negotiator = OptionNegotiator(
            RequestOptions(first, config.logprobs, config.limit_name, config.temperature),
            may_change_format=automatic,
            max_tokens=config.max_tokens,
            limit_name_known=config.limit_known,
        )
        self._client = outbound.client(
            timeout=config.timeout_seconds, limits=httpx.Limits(max_connections=max(1, config.concurrency))
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    @property
    def has_answered(self) -> bool:
        """Whether the endpoint has answered with the current options."""
        return self._negotiator.confirmed

    @property
    def options(self) -> dict[str, Any]:
        """The current ``response_format``, ``logprobs``, ``limit_name`` and ``temperature``."""
        return self._negotiator.options.as_dict()

    def complete(
        self,
        messages: Sequence[Message],
        compiled: CompiledSchema,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> Completion:
        """The completion for one prompt, or why there is none. Never raises for what a server does.

        ``compiled``: the schema of the output. No attempt is made once ``is_cancelled``.
        """
        attempts, pause = 0, INITIAL_BACKOFF_SECONDS
        started = time.perf_counter()
        while True:
            if self._stop.is_set() or is_cancelled():
                return Completion(ResponseStatus.WAITING, attempts=attempts)
            options = self._negotiator.options
            attempts += 1
            completion, wait = self._request(messages, compiled, options)
            seconds = round(time.perf_counter() - started, 3)
            completion = replace(completion, attempts=attempts, seconds=seconds)
            if _is_rejected(completion) and self._negotiator.downgrade(options, completion):
                # Negotiation is no time of this document.
                attempts, started = attempts - 1, time.perf_counter()
                continue
            self._negotiator.detect_ignored_limit(options, completion)
            if wait is None or attempts >= self._max_attempts:
                return completion
            self._stop.wait(min(MAX_BACKOFF_SECONDS, max(wait, pause * random.uniform(0.75, 1.25))))
            pause *= 2

    def _request(self, messages: Sequence[Message], compiled: CompiledSchema, options: RequestOptions) -> Attempt:
        timeout = self._config.timeout_seconds
        try:
            with outbound.deadline(timeout):
                return self._send(messages, compiled, options)
        except Refused as error:
            return Completion(ResponseStatus.UNREACHABLE, str(error)), None
        except httpx.ConnectTimeout:
            return Completion(ResponseStatus.UNREACHABLE, f"No connection within {timeout:g} s."), 0
        except httpx.TimeoutException:
            return Completion(ResponseStatus.TIMEOUT, f"No complete response within {timeout:g} s."), None
        except httpx.ConnectError as error:
            return Completion(ResponseStatus.UNREACHABLE, f"No connection: {_error_text(error)}."), 0
        except httpx.HTTPError as error:
            return Completion(ResponseStatus.BUSY, f"The connection broke: {_error_text(error)}."), 0
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            return Completion(ResponseStatus.UNREACHABLE, f"Invalid request: {_error_text(error)}."), None

    def _send(self, messages: Sequence[Message], compiled: CompiledSchema, options: RequestOptions) -> Attempt:
        url = f"{self._config.url.rstrip('/')}/chat/completions"
        body = dumps(self._body(messages, compiled, options)).encode()
        max_bytes = MAX_RESPONSE_BYTES + (BYTES_PER_TOKEN * self._config.max_tokens if options.logprobs else 0)
        with self._client.stream("POST", url, content=body, headers=self._headers()) as response:
            if response.headers.get("content-encoding", "identity") not in ("identity", ""):
                detail = "The response is compressed, but compression was not requested."
                return Completion(ResponseStatus.NO_COMPLETION, detail), None
            received = bytearray()
            for piece in response.iter_raw():
                received += piece
                if len(received) > max_bytes:
                    detail = f"The response exceeds {max_bytes / MAX_RESPONSE_BYTES:.1f} MB."
                    return Completion(ResponseStatus.TOO_BIG, detail, http_status=response.status_code), None
            text = received.decode("utf-8", "replace")
            if response.status_code != 200:
                return self._http_error(response, text)
            completion = parse_completion(text, messages, compiled)
            if completion.status not in (ResponseStatus.WEB_PAGE, ResponseStatus.NO_COMPLETION):
                self._negotiator.confirmed = True
            if completion.status in _QUOTES_SERVER:
                completion = replace(completion, detail=self._redact(completion.detail))
            return replace(completion, http_status=200), None

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._config.key:
            headers["Authorization"] = f"Bearer {self._config.key}"
        return headers

    def _body(self, messages: Sequence[Message], compiled: CompiledSchema, options: RequestOptions) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._config.model,
            "messages": list(messages),
            options.limit_name: self._config.max_tokens,
            "stream": False,
        }
        if options.temperature:
            body["temperature"] = 0
        if self._config.reasoning_effort:
            body["reasoning_effort"] = self._config.reasoning_effort
        if options.logprobs:
            # One alternative: llama.cpp returns nothing for 0, and twenty per token where none is requested.
            body |= {"logprobs": True, "top_logprobs": 1}
        if options.response_format == "json_schema":
            schema = prompt_schema(compiled.schema)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "label", "schema": schema, "strict": supports_strict(schema)},
            }
        elif options.response_format == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _http_error(self, response: httpx.Response, text: str) -> Attempt:
        """A response other than 200."""
        code = response.status_code
        detail = self._redact(f"HTTP {code}: {error_message(text) or response.reason_phrase}")
        if code in _RETRY_STATUSES:
            wait = _retry_after(response.headers.get("retry-after", ""))
            return Completion(ResponseStatus.BUSY, detail, http_status=code), wait
        if 300 <= code < 400:
            detail = f"HTTP {code}: redirects are not followed."
            return Completion(ResponseStatus.REFUSED, detail, http_status=code), None
        if code in (400, 413, 422) and any(word in detail.casefold() for word in _TOO_LONG_ERRORS):
            return Completion(ResponseStatus.TOO_LONG, detail, http_status=code), None
        parameter = rejected_parameter(text)
        return Completion(ResponseStatus.REFUSED, detail, http_status=code, rejected_parameter=parameter), None

    def _redact(self, text: str) -> str:
        """A server's text as it may be stored: without the key, which some servers repeat, and bounded in length."""
        if self._config.key:
            text = text.replace(self._config.key, "***")
        return " ".join(text.replace("\0", " ").split())[:290]


#: statuses whose detail quotes the server
_QUOTES_SERVER = (ResponseStatus.NO_COMPLETION, ResponseStatus.DECLINED)


def _is_rejected(completion: Completion) -> bool:
    return completion.http_status in (400, 422) and completion.status == ResponseStatus.REFUSED


def supports_strict(schema: Any) -> bool:
    """Whether every object of a schema is closed and requires all its names, which ``strict`` needs."""
    if isinstance(schema, list):
        return all(supports_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict):
        if schema.get("additionalProperties") is not False or set(properties) - set(schema.get("required", [])):
            return False
        return all(supports_strict(value) for value in properties.values())
    return all(supports_strict(value) for value in schema.values())


def _error_text(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _retry_after(value: str) -> float:
    """Seconds that a server asks to wait; 0 for dates and invalid values."""
    try:
        seconds = float(value)
    except ValueError:
        return 0
    return min(MAX_BACKOFF_SECONDS, seconds) if seconds > 0 else 0
