"""Forwards one request: bytes in, bytes out, a line in the log in between."""

import asyncio
import contextlib
import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass

import aiohttp
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from evaluation.inference.completion import ResponseStatus, classify_output
from serving.gateway.capture import exchange
from serving.gateway.capture.exchange import Asked, ModelResponse
from serving.gateway.capture.upstream import response_headers
from serving.gateway.intake.bodies import SMALL
from serving.gateway.limits import Reservation
from serving.gateway.problems import GatewayProblem
from serving.gateway.responder import CLIENT_CLOSED, ExtractionRequest, Responder, Source, log_row, milliseconds_since
from serving.gateway.routes import Route
from slmstudio.contract.output_json import extract_json

#: our own id of a request: ``X-Request-Id`` is that of the external model
REQUEST_ID = "X-SLM-Request-Id"
#: bytes of a stream that are kept for the log
MAX_KEPT = 4 * 1024 * 1024
#: bytes of an answer that is no stream: 2,048 embeddings of 3,072 numbers, encoded as they are by default, are 34 MB
MAX_ANSWER = 64 * 1024 * 1024
#: the last event of a stream of chat completions, and of responses
_ENDS = (b"[DONE]", b"response.completed", b"response.incomplete", b"response.failed")
#: errors of the caller's document, which every model would count as a failure of its own
_TOO_LONG = ("context_length_exceeded", "string_above_max_length")


@dataclass
class Forwarded:
    """A request on its way: what is asked, the stage of its row, and when it was sent. The row has a stage only where
    the split of the traffic could have chosen the candidate."""

    responder: Responder
    route: Route
    extraction: ExtractionRequest
    asked: Asked
    path: str
    stage: str
    is_logged: bool = False
    sent: float = 0.0
    #: against the budgets, until it is logged
    reserved: Reservation | None = None

    def log(self, status: int, response: ModelResponse, *, code: str = "") -> None:
        """Writes the row, once. Raises GatewayProblem 503 where the row of an answer cannot be stored."""
        if self.is_logged:
            return
        self.is_logged = True
        assert self.route.stable is not None
        valid, raw = None, ""
        if status == 200 and self.asked.is_document and response.content is not None:
            raw = extract_json(response.content)[1]
            cut_off = response.finish_reason == "length"
            valid = classify_output(self.route.stable.schema, raw, truncated=cut_off)[0] == ResponseStatus.VALID
        row = log_row(
            self.route, self.extraction, release_id=self.route.stable.id, source=Source.STABLE, stage=self.stage,
            status=status, code=code or _code(status, response), valid=valid, prompt_tokens=response.prompt_tokens,
            output_tokens=response.output_tokens, model_ms=milliseconds_since(self.sent) if self.sent else 0.0,
        )  # fmt: skip
        # The content of requests that the external model does not authorize is not stored.
        if self.route.retention_days and status not in (401, 403, CLIENT_CLOSED):
            row |= {
                "text": self.asked.text, "output": response.content or "",
                "exchange": exchange.stored(self.path, self.asked, response),
            }  # fmt: skip
        try:
            self.responder.write(row, self.extraction)
        except GatewayProblem:
            self.finish(answered=False)
            raise
        self.finish(answered=status == 200)
        if self.asked.is_document and (status == 200 or status >= 500):
            self.responder.repeat(self.route, self.extraction, row, raw=raw if valid else "")

    def finish(self, *, answered: bool) -> None:
        """Counts its tokens, once; a request without an answer is given back to the budgets."""
        if self.reserved is not None:
            self.reserved.finish(answered=answered, tokens=self.extraction.used_tokens)
            self.reserved = None


def _code(status: int, response: ModelResponse) -> str:
    if status == 200:
        return ""
    return "too_long" if response.code in _TOO_LONG else (response.code or "external")


def key_of(text: str, body: bytes) -> str:
    """What the split depends on where there is no document: the request."""
    return "" if text else hashlib.sha256(body).hexdigest()


async def whole(work: Forwarded, upstream: aiohttp.ClientResponse) -> Response:
    """The response with its whole body, as it came. Raises GatewayProblem 502 or 504."""
    try:
        body = await _read(upstream)
    except TimeoutError:
        raise GatewayProblem(504, "timeout", "The external model did not respond in time.") from None
    except (aiohttp.ClientError, OSError) as error:
        raise GatewayProblem(502, "broken", "The connection to the external model was lost.") from error
    finally:
        upstream.release()
    work.log(upstream.status, await _understood(body, is_stream=False))
    return _Unchanged(upstream, body, request_id=work.extraction.id)


async def _read(upstream: aiohttp.ClientResponse) -> bytes:
    received = bytearray()
    async for piece in upstream.content.iter_any():
        received += piece
        if len(received) > MAX_ANSWER:
            upstream.close()
            size = MAX_ANSWER // 2**20
            raise GatewayProblem(502, "answer_too_large", f"The external model's answer is larger than {size} MB.")
    return bytes(received)


async def _understood(body: bytes, *, is_stream: bool) -> ModelResponse:
    if len(body) <= SMALL:
        return exchange.response_of(body, is_stream=is_stream)
    return await asyncio.to_thread(exchange.response_of, body[:MAX_KEPT] if is_stream else body, is_stream=is_stream)


class _Unchanged(Response):
    """A response with the status, headers and body of another one."""

    def __init__(self, upstream: aiohttp.ClientResponse, body: bytes | None, *, request_id: str) -> None:
        super().__init__(status_code=upstream.status)
        headers = [(name.lower(), value) for name, value in response_headers(upstream.headers)]
        headers.append((REQUEST_ID.lower(), request_id))
        if body is not None:
            self.body = body
            headers.append(("content-length", str(len(body))))
        self.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


class Relayed(_Unchanged):
    """A stream: every piece is sent on as it arrives. The row is in the log before the last event is sent."""

    def __init__(self, work: Forwarded, upstream: aiohttp.ClientResponse) -> None:
        super().__init__(upstream, None, request_id=work.extraction.id)
        self._work, self._upstream = work, upstream
        #: entered while the stream is sent
        self.in_flight: AbstractContextManager[None] = contextlib.nullcontext()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.in_flight:
            await self._relay(receive, send)

    async def _relay(self, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                sending.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sending
                return
            sending.result()
        finally:
            gone.cancel()
            self._upstream.close()
            with contextlib.suppress(GatewayProblem):
                self._work.log(CLIENT_CLOSED, ModelResponse(), code="client_closed")

    async def _send(self, send: Send) -> None:
        """Raises ConnectionError where the external model breaks off, and GatewayProblem where the row cannot be
        stored: the server then closes the connection, and the caller notices that the stream is not complete."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        kept = bytearray()
        try:
            async for piece in self._upstream.content.iter_any():
                kept += piece[: max(0, MAX_KEPT - len(kept))]
                if any(end in kept[-len(piece) - 32 :] for end in _ENDS):
                    await self._log(kept)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._work.log(502, ModelResponse(), code="broken")
            raise ConnectionError("the external model ended the stream early") from error
        await self._log(kept)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _log(self, kept: bytearray) -> None:
        if not self._work.is_logged:
            self._work.log(self._upstream.status, await _understood(bytes(kept), is_stream=True))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def is_stream(upstream: aiohttp.ClientResponse) -> bool:
    """Whether a response is to be sent on piece by piece."""
    return upstream.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
