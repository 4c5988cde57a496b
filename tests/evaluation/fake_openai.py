"""A server that speaks POST /v1/chat/completions over real HTTP, and can be told to misbehave.

What it takes and gives is pinned to OpenAI's own types by ``test_openai_contract.py``.
"""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import in_thread

Reply = Callable[["Handler", dict[str, Any]], None]
#: a valid answer
GOOD = '{"id": "A-1", "total": 2.50}'


class Fake:
    """What the server was asked, and how it is to answer: ``replies`` one after the other, the last for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.replies: list[Reply] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.at_work = 0
        self.most_at_work = 0

    def next(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        """Notes a request and gives its reply."""
        with self.lock:
            self.asked.append(body)
            self.headers.append(headers)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    fake: Fake

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            error(404, f"there is no {self.path}")(self, body)
            return
        reply = self.fake.next(body, dict(self.headers))
        with self.fake.lock:
            self.fake.at_work += 1
            self.fake.most_at_work = max(self.fake.most_at_work, self.fake.at_work)
        try:
            reply(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with self.fake.lock:
                self.fake.at_work -= 1

    def log_message(self, *arguments: Any) -> None:
        """Nothing on standard error."""

    def send(self, status: int, data: bytes, kind: str = "application/json", **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)


def completion(content: Any, *, finish: str = "stop", logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The body of an answer."""
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": "fake-1",
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": finish,
                "logprobs": {"content": logprobs, "refusal": None} if logprobs is not None else None,
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def pieces(*tokens: tuple[str, float]) -> list[dict[str, Any]]:
    """Tokens with their probabilities, as ``logprobs.content`` has them."""
    return [
        {"token": text, "logprob": math.log(p), "bytes": list(text.encode()), "top_logprobs": []} for text, p in tokens
    ]


def says(content: Any, **more: Any) -> Reply:
    """Answers with this content."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.send(200, json.dumps(completion(content, **more)).encode())

    return reply


def sends(data: bytes, *, status: int = 200, kind: str = "application/json", **headers: str) -> Reply:
    """Answers with these bytes."""

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        handler.send(status, data, kind, **headers)

    return reply


def error(status: int, message: str, *, code: str | None = None, param: str | None = None, **headers: str) -> Reply:
    """Answers as the API does where something is wrong."""
    told = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    return sends(json.dumps(told).encode(), status=status, **headers)


EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


def reasons(content: str, *, thought: int = 64, answer: int = 20) -> Reply:
    """Answers as a reasoning model of OpenAI does (o-series, GPT-5): ``max_tokens``, any temperature but 1 and
    log-probabilities are refused by name, and the thought, which nobody sees, counts in the limit and is paid for.
    """

    def reply(handler: Handler, body: dict[str, Any]) -> None:
        refusal = _refusal(body)
        if refusal is None:
            _reasoned(handler, body, content, thought, answer)
        else:
            refusal(handler, body)

    return reply


def _refusal(body: dict[str, Any]) -> Reply | None:
    """What of a request a reasoning model does not take, worded as OpenAI words it."""
    unsupported = "Unsupported parameter: '{}' is not supported with this model."
    if "max_tokens" in body:
        message = unsupported.format("max_tokens") + " Use 'max_completion_tokens' instead."
        return error(400, message, code="unsupported_parameter", param="max_tokens")
    if body.get("temperature", 1) != 1:
        message = (
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
            "Only the default (1) value is supported."
        )
        return error(400, message, code="unsupported_value", param="temperature")
    for name in ("logprobs", "top_logprobs"):
        if body.get(name):
            return error(400, unsupported.format(name), code="unsupported_parameter", param=name)
    effort = body.get("reasoning_effort", "medium")
    if effort not in EFFORTS:
        message = f"Invalid value: '{effort}'. Supported values are: {', '.join(repr(one) for one in EFFORTS)}."
        return error(400, message, code="invalid_value", param="reasoning_effort")
    return None


def _reasoned(handler: Handler, body: dict[str, Any], content: str, thought: int, answer: int) -> None:
    """A completion whose thought comes first: what is left of the limit is for the answer."""
    limit = int(body.get("max_completion_tokens") or 10**6)
    thought, left = min(thought, limit), max(0, limit - thought)
    whole = left >= answer
    said = completion(
        content if whole else content[: len(content) * left // answer], finish="stop" if whole else "length"
    )
    written = thought + min(answer, left)
    said["usage"] = {
        "prompt_tokens": 100,
        "completion_tokens": written,
        "total_tokens": 100 + written,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    handler.send(200, json.dumps(said).encode())


def refuses(name: str, reply: Reply) -> Reply:
    """An older server: a parameter that it does not know is an error, everything else is answered."""

    def older(handler: Handler, body: dict[str, Any]) -> None:
        message = f"Unrecognized request argument supplied: {name}"
        (error(400, message) if name in body else reply)(handler, body)

    return older


def trickles(handler: Handler, body: dict[str, Any]) -> None:
    """A byte now and then, without an end."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    while not handler.fake.stopping.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


def trickles_headers(handler: Handler, body: dict[str, Any]) -> None:
    """Headers without an end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while not handler.fake.stopping.wait(0.05):
        number += 1
        handler.wfile.write(f"X-{number}: 1\r\n".encode())
        handler.wfile.flush()


def floods(handler: Handler, body: dict[str, Any]) -> None:
    """As many bytes as are taken."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    while not handler.fake.stopping.is_set():
        handler.wfile.write(b'{"x":"' + b"y" * 65_536)


def hangs(handler: Handler, body: dict[str, Any]) -> None:
    """Nothing at all."""
    handler.fake.stopping.wait(20)


def breaks_off(handler: Handler, body: dict[str, Any]) -> None:
    """Half an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def slowly(seconds: float, reply: Reply) -> Reply:
    """The same after a while."""

    def later(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        reply(handler, body)

    return later


@contextmanager
def running() -> Iterator[Fake]:
    """The server, in a thread of its own."""
    handler = type("Bound", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    fake = Fake(f"http://127.0.0.1:{server.server_port}/v1")
    handler.fake = fake  # type: ignore[attr-defined]
    with in_thread(server):
        try:
            yield fake
        finally:
            fake.stopping.set()
