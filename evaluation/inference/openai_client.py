"""Asks a model behind an OpenAI-compatible address: one document, one named outcome. Knows HTTP, no database.

The protocol is that of POST /chat/completions as documented by OpenAI (platform.openai.com/docs/api-reference/chat) and
spoken by vLLM, Ollama, llama.cpp, LM Studio and most hosted models. What an answer may be is not trusted: its size and
its time are bounded, and whatever is no chat completion gets a name, never an exception.
"""

import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from evaluation.inference.answers import Outcome, json_of, outcome_of, token_ends
from evaluation.inference.confidence import per_field
from evaluation.inference.response import (
    content_of,
    first_choice,
    guessed_tokens,
    reason_of,
    refused_parameter,
    thought_of,
    usage_of,
)
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.errors import Refused
from slmstudio.web import outbound
from training.prompts import Message, shown_schema

MOST_BYTES = 1024 * 1024
#: what log-probabilities may add to an answer
BYTES_PER_TOKEN = 512
TRIES = 4
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
#: the names of the limit of tokens: of today, and of before reasoning models, whose thoughts count in it
LIMITS = ("max_completion_tokens", "max_tokens")
#: a server that writes so many times the limit does not know its name
_UNHEARD = 1.5
_LEVELS = ("json_schema", "json_object", "free")
#: how servers word that a parameter is not known to them; a value that is too large is worded otherwise
_UNKNOWN = (
    "unsupported", "not supported", "does not support", "unknown", "unrecognized", "unrecognised", "not recognized",
    "unexpected", "extra_", "extra input", "extra field", "extra param", "not permitted", "not allowed", "forbidden",
)  # fmt: skip
#: parts of a request that a refusal without ``param`` may name in its message
_NAMED = ("response_format", "json_schema", "json_object", "temperature", "logprob")
_LONG = ("context_length", "context length", "maximum context", "context size", "too many tokens", "prompt is too long")


@dataclass(frozen=True, slots=True)
class Address:
    """Where and how a model is asked. ``key`` goes into the Authorization header and nowhere else.

    ``reasoning_effort``: as OpenAI names it; "" sends none. ``limit_name`` and ``temperature``: how it was found to
    take the limit of tokens, and whether it takes a temperature. ``limit_known``: it has answered by this name before.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    structured: str = "auto"
    logprobs: bool = True
    timeout_seconds: float = 60
    at_once: int = 4
    max_tokens: int = 1024
    reasoning_effort: str = ""
    limit_name: str = LIMITS[0]
    temperature: bool = True
    limit_known: bool = False

    def within(self, seconds: float) -> "Address":
        """The same, given up after so many seconds at the latest."""
        return replace(self, timeout_seconds=min(self.timeout_seconds, seconds))


@dataclass(frozen=True, slots=True)
class Said:
    """What became of one document. ``text``: its JSON as written, ``content``: all that was written. ``tokens``: read
    and written, of these ``tokens_out`` written, of these ``tokens_thought`` in thinking; ``estimated`` where the
    answer did not count them. ``seconds`` since it was asked, with every try and the pauses between them; ``status``:
    of its HTTP answer, 0 where there was none; ``refused``: the parameter that an error names.
    """

    outcome: Outcome
    detail: str = ""
    text: str = ""
    confidence: dict[str, float] = field(default_factory=dict)
    content: str = ""
    tokens: int = 0
    tokens_out: int = 0
    tokens_thought: int = 0
    estimated: bool = False
    tries: int = 0
    seconds: float = 0
    status: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class _Way:
    """How it is asked: the response format, whether for log-probabilities, by which name for a limit of tokens, and
    whether for a temperature of 0."""

    level: str
    logprobs: bool
    limit_name: str
    temperature: bool


class Chat:
    """One endpoint during one run. ``ask`` may be called from several threads."""

    def __init__(
        self, address: Address, compiled: CompiledSchema, stop: threading.Event, *, tries: int = TRIES
    ) -> None:
        """``stop``: set it, and nothing is asked or waited for any more. ``tries``: requests about one document."""
        self._address = address
        self._tries = tries
        self._compiled = compiled
        self._stop = stop
        self._lock = threading.Lock()
        first = _LEVELS[0] if address.structured == "auto" else address.structured
        self._way = _Way(first, address.logprobs, address.limit_name, address.temperature)
        self._names_left = [name for name in LIMITS if name != address.limit_name]
        #: the name to return to, while the other one is on trial: nothing was answered by it yet
        self._name_before = ""
        self._proven = False
        self._schema = shown_schema(compiled.schema)
        self._client = outbound.client(
            timeout=address.timeout_seconds, limits=httpx.Limits(max_connections=max(1, address.at_once))
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    @property
    def answered(self) -> bool:
        """Whether it has answered, asked as it is now."""
        return self._proven

    @property
    def way(self) -> dict[str, Any]:
        """How it is asked now: ``response_format``, ``logprobs``, ``limit_name`` and ``temperature``."""
        way = self._way
        return {
            "response_format": way.level,
            "logprobs": way.logprobs,
            "limit_name": way.limit_name,
            "temperature": way.temperature,
        }

    def ask(self, messages: Sequence[Message]) -> Said:
        """The model's answer to one document, or why there is none. Never raises for what a server does."""
        tries, pause = 0, FIRST_PAUSE_SECONDS
        started = time.perf_counter()
        while True:
            if self._stop.is_set():
                return Said(Outcome.WAITING, tries=tries)
            way = self._way
            tries += 1
            said, wait = self._once(messages, way)
            said = replace(said, tries=tries, seconds=round(time.perf_counter() - started, 3))
            if said.status in (400, 422) and said.outcome == Outcome.REFUSED and self._lowered(way, said):
                # It was asked in a way that the server does not know, which is no time of this document's.
                tries, started = tries - 1, time.perf_counter()
                continue
            self._notice_limit(way, said)
            if wait is None or tries >= self._tries:
                return said
            self._stop.wait(min(LONGEST_PAUSE_SECONDS, max(wait, pause * random.uniform(0.75, 1.25))))
            pause *= 2

    def _lowered(self, way: _Way, said: Said) -> bool:
        """Asks less of the server from now on, where it never answered this way yet. False: there is nothing less."""
        with self._lock:
            if self._way != way:
                return True  # another thread found out meanwhile
            refused, detail = said.refused, said.detail.casefold()
            if self._name_before and (_names_limit(refused, detail) or _names_nothing(refused, detail)):
                self._way, self._name_before = replace(way, limit_name=self._name_before), ""
                return True
            if self._proven:
                return False
            lower = self._lower(way, refused, detail)
            if lower is None:
                return False
            self._way = lower
            return True

    def _lower(self, way: _Way, refused: str, detail: str) -> _Way | None:
        """``refused``: the parameter that the server names, "" where it names none."""
        if refused == "reasoning_effort" or (not refused and "reasoning_effort" in detail):
            return None  # it was asked for on purpose
        if _names_limit(refused, detail):
            return self._renamed(way) if any(word in detail for word in _UNKNOWN) else None
        if _names_nothing(refused, detail) and self._names_left:
            return self._on_trial(way)
        if way.temperature and (refused == "temperature" or (not refused and "temperature" in detail)):
            return replace(way, temperature=False)
        place = _LEVELS.index(way.level)
        may_fall = self._address.structured == "auto" and place + 1 < len(_LEVELS)
        if way.logprobs and ("logprob" in detail or not may_fall):
            return replace(way, logprobs=False)
        return replace(way, level=_LEVELS[place + 1]) if may_fall else None

    def _renamed(self, way: _Way) -> _Way | None:
        """With the other name of the limit of tokens, once."""
        return replace(way, limit_name=self._names_left.pop()) if self._names_left else None

    def _on_trial(self, way: _Way) -> _Way:
        """With the other name of the limit on suspicion alone: the first refusal of it brings the old one back, once
        and for all. As it is where both names were tried."""
        renamed = self._renamed(way)
        if renamed is None:
            return way
        self._name_before = way.limit_name
        return renamed

    def _notice_limit(self, way: _Way, said: Said) -> None:
        """A server that does not know the name of the limit may pass over it without a word: it writes far more than it
        may, or does not end in time. It is asked by the other name from then on, on trial."""
        answered = said.status == 200
        far_more = answered and not said.estimated and said.tokens_out > _UNHEARD * self._address.max_tokens
        with self._lock:
            if self._way.limit_name != way.limit_name:
                return
            if answered:
                self._name_before = ""
            late = said.outcome == Outcome.TIMEOUT and not self._proven and not self._address.limit_known
            if (far_more or late) and self._way == way:
                self._way = self._on_trial(way)

    def _once(self, messages: Sequence[Message], way: _Way) -> tuple[Said, float | None]:
        """One request: what came of it, and after how many seconds it may be tried again (None: not at all)."""
        limit = self._address.timeout_seconds
        try:
            with outbound.deadline(limit):
                return self._read(messages, way)
        except Refused as refusal:
            return Said(Outcome.UNREACHABLE, str(refusal)), None
        except httpx.ConnectTimeout:
            return Said(Outcome.UNREACHABLE, f"No connection within {limit:g} s."), 0
        except httpx.TimeoutException:
            return Said(Outcome.TIMEOUT, f"It had not answered completely after {limit:g} s."), None
        except httpx.ConnectError as error:
            return Said(Outcome.UNREACHABLE, f"No connection: {_plain(error)}."), 0
        except httpx.HTTPError as error:
            return Said(Outcome.BUSY, f"The connection broke: {_plain(error)}."), 0
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            return Said(Outcome.UNREACHABLE, f"This cannot be asked: {_plain(error)}."), None

    def _read(self, messages: Sequence[Message], way: _Way) -> tuple[Said, float | None]:
        url = f"{self._address.url.rstrip('/')}/chat/completions"
        body = dumps(self._body(messages, way)).encode()
        most = MOST_BYTES + (BYTES_PER_TOKEN * self._address.max_tokens if way.logprobs else 0)
        with self._client.stream("POST", url, content=body, headers=self._headers()) as answer:
            if answer.headers.get("content-encoding", "identity") not in ("identity", ""):
                return Said(Outcome.NO_COMPLETION, "It was compressed, which was not asked for."), None
            received = bytearray()
            for piece in answer.iter_raw():
                received += piece
                if len(received) > most:
                    detail = f"It was given up after {most / MOST_BYTES:.1f} MB."
                    return Said(Outcome.TOO_BIG, detail, status=answer.status_code), None
            text = received.decode("utf-8", "replace")
            if answer.status_code == 200:
                said = self._completion(text, messages)
                if said.outcome not in (Outcome.WEB_PAGE, Outcome.NO_COMPLETION):
                    self._proven = True
                return replace(said, status=200), None
            return self._failed(answer, text)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._address.key:
            headers["Authorization"] = f"Bearer {self._address.key}"
        return headers

    def _body(self, messages: Sequence[Message], way: _Way) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._address.model,
            "messages": list(messages),
            way.limit_name: self._address.max_tokens,
            "stream": False,
        }
        if way.temperature:
            body["temperature"] = 0
        if self._address.reasoning_effort:
            body["reasoning_effort"] = self._address.reasoning_effort
        if way.logprobs:
            # One alternative: llama.cpp gives nothing for 0, and twenty of each token where none is said.
            body |= {"logprobs": True, "top_logprobs": 1}
        if way.level == "json_schema":
            strict = _can_be_strict(self._schema)
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "label", "schema": self._schema, "strict": strict},
            }
        elif way.level == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body

    def _failed(self, answer: httpx.Response, text: str) -> tuple[Said, float | None]:
        """An answer that is no 200."""
        code = answer.status_code
        detail = self._told(f"HTTP {code}: {reason_of(text) or answer.reason_phrase}")
        if code in _AGAIN:
            return Said(Outcome.BUSY, detail, status=code), _retry_after(answer.headers.get("retry-after", ""))
        if 300 <= code < 400:
            return Said(Outcome.REFUSED, f"HTTP {code}: it sends elsewhere, which is not followed.", status=code), None
        if code in (400, 413, 422) and any(word in detail.casefold() for word in _LONG):
            return Said(Outcome.TOO_LONG, detail, status=code), None
        return Said(Outcome.REFUSED, detail, status=code, refused=refused_parameter(text)), None

    def _told(self, text: str) -> str:
        """A server's words as they may be kept: without the key that some of them repeat, and not endlessly long."""
        if self._address.key:
            text = text.replace(self._address.key, "***")
        return " ".join(text.replace("\0", " ").split())[:290]

    def _completion(self, text: str, messages: Sequence[Message]) -> Said:
        if text.lstrip("\ufeff \r\n\t")[:1] == "<":
            return Said(Outcome.WEB_PAGE, "The address answers with a web page; does it end in /v1?")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            return Said(Outcome.NO_COMPLETION, self._told(f"It is no JSON: {text[:80]!r}"))
        choice = first_choice(answer)
        message = choice.get("message") if choice else None
        if choice is None or not isinstance(message, dict):
            reason = reason_of(text) or "It has no choices with a message."
            return Said(Outcome.NO_COMPLETION, self._told(reason))
        said = self._message(choice, message)
        tokens, written, thought = usage_of(answer)
        guessed, guessed_written = guessed_tokens(messages, text, said.content + thought_of(message))
        estimated = tokens is None or written is None
        tokens = guessed if tokens is None else tokens
        written = min(tokens, guessed_written) if written is None else written
        return replace(said, tokens=tokens, tokens_out=written, tokens_thought=thought, estimated=estimated)

    def _message(self, choice: dict[str, Any], message: dict[str, Any]) -> Said:
        if isinstance(message.get("refusal"), str) and message["refusal"]:
            return Said(Outcome.DECLINED, self._told(message["refusal"]))
        if choice.get("finish_reason") == "content_filter":
            return Said(Outcome.DECLINED, "Its filter of contents stopped the answer.")
        content = content_of(message)
        if content is None:
            return Said(Outcome.NO_COMPLETION, "Its message has no text.")
        start, written = json_of(content)
        outcome, detail = outcome_of(self._compiled, written, cut=choice.get("finish_reason") == "length")
        return Said(outcome, detail, written, _confidence(choice, content, start, written), content)


def _names_limit(refused: str, detail: str) -> bool:
    """Whether a refusal is about the limit of tokens. ``refused``: the parameter that it names, "" where it names none;
    ``detail``: its message in lower case."""
    return refused in LIMITS or (not refused and any(name in detail for name in LIMITS))


def _names_nothing(refused: str, detail: str) -> bool:
    """Whether a refusal leaves open what of the request it is about."""
    return not refused and not any(name in detail for name in (*LIMITS, *_NAMED, "reasoning_effort"))


def _can_be_strict(schema: Any) -> bool:
    """Whether every object of a schema is closed and requires all its names, as ``strict`` wants it."""
    if isinstance(schema, list):
        return all(_can_be_strict(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict):
        if schema.get("additionalProperties") is not False or set(properties) - set(schema.get("required", [])):
            return False
        return all(_can_be_strict(one) for one in properties.values())
    return all(_can_be_strict(one) for one in schema.values())


def _plain(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _retry_after(value: str) -> float:
    """Seconds that a server asks to wait; dates and nonsense count as none."""
    try:
        seconds = float(value)
    except ValueError:
        return 0
    return min(LONGEST_PAUSE_SECONDS, seconds) if seconds > 0 else 0


def _confidence(choice: dict[str, Any], content: str, start: int, written: str) -> dict[str, float]:
    """Field path -> probability of the least sure token, where the server said how sure it was of each token."""
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens or not written:
        return {}
    values = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return {}
    ends = token_ends(tokens, content)
    if ends is None:
        return {}
    moved = [max(0, end - start) for end in ends]
    sure = per_field(written, moved, [float(value) for value in values if value is not None])
    return {path: one.least for path, one in sure.items()}
