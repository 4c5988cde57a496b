"""The OpenAI-compatible interface: ``/v1/models`` and ``/v1/chat/completions``.

``model`` is the slug of the project, or ``slug@version``. The document is the last user message; instructions and
examples in other messages are not sent: the model gets the prompt that it was trained with. The output always matches
the schema of the project, so ``response_format`` may be left out; sampling parameters have no effect.
"""

import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serving.gateway.app_state import Gateway
from serving.gateway.extract import policy_members
from serving.gateway.idempotency import HEADER
from serving.gateway.intake.bodies import check_length
from serving.gateway.problems import GatewayProblem
from serving.gateway.responder import ExtractionRequest, ExtractionResponse
from serving.gateway.routes import Route
from serving.gateway.tokens import Caller
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.wrapped_values import bare_text
from slmstudio.contract.scoring.pairing import pair

#: characters of one event of a stream
_CHUNK = 64


async def models(request: Request, gateway: Gateway, request_id: str) -> Response:
    """The models that the token may ask."""
    caller = await gateway.authorize(request)
    route = gateway.table.get(caller.slug)
    data = []
    if route is not None:
        versions = [release.number for release in route.answering if release.can_answer]
        data = [_model(caller.slug), *(_model(f"{caller.slug}@{number}") for number in versions)] if versions else []
    return _json({"object": "list", "data": data})


async def model(request: Request, gateway: Gateway, request_id: str) -> Response:
    """One of them. Raises GatewayProblem 404."""
    name = request.path_params["model"]
    slug, number = parse_model(name)
    await gateway.authorize(request, slug)
    gateway.route(slug, number)
    return _json(_model(name))


async def chat_completions(request: Request, gateway: Gateway, request_id: str) -> Response:
    """Answers the last user message. Raises GatewayProblem."""
    caller = await gateway.authorize(request)
    body = await gateway.bodies.read_object(request, caller.slug)
    if not isinstance(body.get("model"), str):
        raise GatewayProblem(422, "field", "model must be the slug of a project, or slug@version.", field="model")
    slug, number = parse_model(body["model"])
    gateway.check_project(caller, slug)
    route = gateway.route(slug, number)
    if body.get("n") not in (None, 1):
        raise GatewayProblem(422, "field", "n must be 1: the output is deterministic.", field="n")
    extraction = ExtractionRequest(
        text=document_of(body.get("messages")),
        protocol="openai",
        token_id=caller.token_id,
        limits=caller.limits,
        key=request.headers.get(HEADER, ""),
        caller=str(body.get("user") or "")[:80],
        number=number,
        id=request_id,
    )
    return await respond(request, gateway, route, body, extraction, caller)


async def respond(
    request: Request,
    gateway: Gateway,
    route: Route,
    body: dict[str, Any],
    extraction: ExtractionRequest,
    caller: Caller | None,
) -> Response:
    """Answers a document in the form of a chat completion. ``caller`` None: without idempotency keys."""
    if body.get("stream") is True:
        answered = await gateway.answer(request, route, extraction)
        options = body.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage") is True
        # The output was validated as a whole before its first character is sent.
        events = _stream(route.slug, answered, content_of(answered, body), with_usage=with_usage)
        return StreamingResponse(events, media_type="text/event-stream", headers={"X-Request-Id": extraction.id})

    def render(answered: ExtractionResponse) -> bytes:
        return orjson.dumps(_completion(route.slug, answered, content_of(answered, body)))

    return await gateway.respond(request, caller, route, body, extraction, render)


def content_of(answered: ExtractionResponse, body: dict[str, Any]) -> str:
    """The content of the message: the object as the model wrote it, or where the schema is a single choice and the
    caller asks for text, the class alone."""
    wanted = body.get("response_format")
    fields = answered.release.schema.fields
    as_text = isinstance(wanted, dict) and wanted.get("type") == "text" and len(fields) == 1 and fields[0].is_choice
    if not as_text:
        return bare_text(answered.release.schema.schema, answered.raw)
    value = next((leaf.output for leaf in pair(answered.release.schema.root, None, loads(answered.raw))), None)
    return answered.raw if value is None else value if isinstance(value, str) else dumps(value)


def _decision(answered: ExtractionResponse) -> dict[str, Any]:
    """What our own interface says about an answer, as a member that OpenAI clients ignore."""
    return {
        "answered_by": answered.source,
        "confidence": answered.confidence,
        "calibrated": answered.is_calibrated,
        "needs_review": bool(answered.review_reason),
        **policy_members(answered),
    }


def _completion(slug: str, answered: ExtractionResponse, content: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        **_head(slug, answered, "chat.completion"),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(answered),
        "slm_studio": _decision(answered),
    }


def parse_model(name: str) -> tuple[str, int | None]:
    """Slug and version of a model name. Raises GatewayProblem 404."""
    slug, at, version = name.partition("@")
    if at and not (version.isdecimal() and len(version) < 9):
        raise GatewayProblem(404, "model_not_found", f"The model {name[:80]!r} does not exist.")
    return slug, int(version) if at else None


def document_of(messages: Any) -> str:
    """The document in the messages: the text of the last user message. Raises GatewayProblem 422."""
    rows = messages if isinstance(messages, list) else []
    last = next((row for row in reversed(rows) if isinstance(row, dict) and row.get("role") == "user"), None)
    if last is None:
        raise GatewayProblem(422, "field", "messages must contain a user message with the document.", field="messages")
    content = last.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        if len(parts) != len(content) or any(part.get("type") != "text" for part in parts):
            raise GatewayProblem(
                422, "field", "Only text is supported. Extract the text of files first.", field="messages"
            )
        content = "".join(str(part.get("text", "")) for part in parts)
    if not isinstance(content, str) or not content.strip():
        raise GatewayProblem(422, "field", "The last user message is empty.", field="messages")
    if "\0" in content:
        raise GatewayProblem(422, "field", "The last user message contains a NUL character.", field="messages")
    check_length(content)
    return content


async def _stream(slug: str, answered: ExtractionResponse, content: str, *, with_usage: bool) -> AsyncIterator[bytes]:
    head = _head(slug, answered, "chat.completion.chunk")
    usage = {"usage": None} if with_usage else {}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: " + orjson.dumps({**head, "choices": [choice], **usage}) + b"\n\n"

    yield event({"role": "assistant", "content": "", "refusal": None})
    for at in range(0, len(content), _CHUNK):
        yield event({"content": content[at : at + _CHUNK]})
    head["slm_studio"] = _decision(answered)
    yield event({}, "stop")
    del head["slm_studio"]
    if with_usage:
        yield b"data: " + orjson.dumps({**head, "choices": [], "usage": _usage(answered)}) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _head(slug: str, answered: ExtractionResponse, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answered.request_id}",
        "object": kind,
        "created": int(time.time()),
        "model": f"{slug}@{answered.release.number}",
        "system_fingerprint": None,
    }


def _usage(answered: ExtractionResponse) -> dict[str, int]:
    prompt, output = answered.output.prompt_tokens, answered.output.output_tokens
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "slm-studio"}


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")
