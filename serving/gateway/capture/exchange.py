"""What a forwarded request and its response contain: the document, the answer, tokens. Pure.

The bodies are those of OpenAI's API, which many servers have. They are read leniently: what is not recognized is
forwarded all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from serving.gateway.intake import json_check

CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = "chat/completions", "completions", "responses", "embeddings"
#: characters of an exchange that are stored
MAX_STORED = 400_000
_SYSTEM = ("system", "developer")
#: what a model that writes one object for one document does not do
_BEYOND = ("tools", "functions", "audio", "modalities", "prediction", "logit_bias", "previous_response_id")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. ``text``: the document, the last text of the user; "" without one.

    ``is_document``: one system prompt and one document, which a small model can answer in its place.
    """

    text: str = ""
    system: str = ""
    model: str = ""
    caller: str = ""
    is_document: bool = False
    #: the body; None where it is no object, or one of too many values
    body: dict[str, Any] | None = None
    #: the body without the document, as the log stores it
    stored: dict[str, Any] | None = None


@dataclass(slots=True)
class ModelResponse:
    """A response. ``content``: the text of its first choice; None where it has none, such as a call of a tool."""

    content: str | None = None
    model: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    code: str = ""
    message: dict[str, Any] = field(default_factory=dict)


def read_body(body: bytes) -> dict[str, Any] | None:
    """The JSON object of a body; None where it is none."""
    try:
        value = orjson.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def asked(path: str, raw: bytes) -> Asked:
    """What a request asks. ``path``: below ``/v1/``."""
    try:
        json_check.check(raw)
    except json_check.TooComplex:
        return Asked()
    except ValueError:
        pass  # two equal names: the external model decides
    body = read_body(raw)
    if body is None:
        return Asked()
    turns = _turns(path, body)
    texts = [text for role, text in turns if role == "user"]
    system = "\n\n".join(text for role, text in turns if role in _SYSTEM and text)
    last = (texts[-1] if texts else None) or ""
    single = [role for role, _ in turns if role not in _SYSTEM] == ["user"]
    known = path in (CHAT, RESPONSES) and body.get("n") in (None, 1) and not any(body.get(name) for name in _BEYOND)
    return Asked(
        text=last, system=system, model=_text(body.get("model")),
        caller=(_text(body.get("user")) or _text(body.get("safety_identifier")))[:80],
        is_document=known and single and bool(last.strip()) and "\0" not in last and None not in texts,
        body=body, stored=_without_document(body, last),
    )  # fmt: skip


def _turns(path: str, body: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Role and text of each message; the text is None where it has other parts, such as images."""
    if path == RESPONSES:
        given = body.get("input")
        rows: Any = [{"role": "user", "content": given}] if isinstance(given, str) else given
        first = [("system", _text(body.get("instructions")))] if body.get("instructions") else []
    elif path == CHAT:
        rows, first = body.get("messages"), []
    else:
        return []
    messages: list[tuple[str, str | None]] = [*first]
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            messages.append((_text(row.get("role")) or "other", _content(row.get("content"))))
    return messages


def _content(content: Any) -> str | None:
    if isinstance(content, list):
        parts = [_text_of(part) for part in content]
        return None if None in parts else "".join(part for part in parts if part)
    return content if isinstance(content, str) else None


def _text_of(part: Any) -> str | None:
    text = part.get("text") if isinstance(part, dict) and "text" in str(part.get("type")) else None
    return text if isinstance(text, str) else None


def stored(path: str, request: Asked, response: ModelResponse) -> str:
    """The exchange as the log stores it: ``{"path", "request", "model", "message"}`` as JSON; "" where it is too long.

    The document is left out of the request: it has a column of its own.
    """
    value = {
        "path": path, "request": request.stored, "system": request.system, "asked_model": request.model,
        "model": response.model, "finish_reason": response.finish_reason,
        "message": {name: item for name, item in response.message.items() if name != "content"},
    }  # fmt: skip
    text = orjson.dumps(value).decode()
    return text if len(text) <= MAX_STORED else ""


def _without_document(body: dict[str, Any], text: str) -> dict[str, Any]:
    def stripped(value: Any) -> Any:
        if text and value == text:
            return None
        if isinstance(value, list):
            return [stripped(item) for item in value]
        if isinstance(value, dict):
            return {name: stripped(item) for name, item in value.items()}
        return value

    return {name: stripped(value) if name in ("messages", "input") else value for name, value in body.items()}


# -- responses --------------------------------------------------------------------------------------------------------


def response_of(body: bytes, *, is_stream: bool) -> ModelResponse:
    """What a response says."""
    if is_stream:
        return _of_stream(body)
    value = read_body(body)
    if value is None:
        return ModelResponse()
    error = value.get("error")
    if isinstance(error, dict | str):
        code = error.get("code") or error.get("type") if isinstance(error, dict) else ""
        return ModelResponse(code=_text(code)[:40])
    return _of_object(value)


def _of_object(value: dict[str, Any]) -> ModelResponse:
    answer = ModelResponse(model=_text(value.get("model")))
    _count(answer, value.get("usage"))
    choices = value.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        message = choices[0].get("message")
        answer.finish_reason = _text(choices[0].get("finish_reason"))
        if isinstance(message, dict):
            answer.message, answer.content = message, _content(message.get("content"))
        else:
            answer.content = _content(choices[0].get("text"))
    elif isinstance(value.get("output"), list):  # the Responses API
        parts = [
            part.get("text")
            for item in value["output"]
            if isinstance(item, dict) and item.get("type") == "message" and isinstance(item.get("content"), list)
            for part in item["content"]
            if isinstance(part, dict) and part.get("type") == "output_text"
        ]
        answer.content = "".join(part for part in parts if isinstance(part, str)) if parts else None
        answer.finish_reason = "length" if value.get("status") == "incomplete" else "stop"
    return answer


def _of_stream(body: bytes) -> ModelResponse:
    """The events of a stream, put together."""
    answer, pieces = ModelResponse(), []
    for event in _events(body):
        whole = event.get("response")
        if isinstance(whole, dict) and event.get("type") in ("response.completed", "response.incomplete"):
            return _of_object(whole)
        answer.model = answer.model or _text(event.get("model"))
        _count(answer, event.get("usage"))
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if not isinstance(choice, dict) or choice.get("index") not in (None, 0):
                continue
            delta = choice.get("delta")
            piece = delta.get("content") if isinstance(delta, dict) else choice.get("text")
            if isinstance(piece, str):
                pieces.append(piece)
            answer.finish_reason = _text(choice.get("finish_reason")) or answer.finish_reason
    answer.content = "".join(pieces) if pieces else None
    return answer


def _events(body: bytes) -> Iterator[dict[str, Any]]:
    for line in body.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            event = read_body(line.removeprefix(b"data:"))
            if event is not None:
                yield event


def _count(answer: ModelResponse, usage: Any) -> None:
    if not isinstance(usage, dict):
        return
    for name, keys in (
        ("prompt_tokens", ("prompt_tokens", "input_tokens")),
        ("output_tokens", ("completion_tokens", "output_tokens")),
    ):
        number = next((usage[key] for key in keys if type(usage.get(key)) is int), 0)
        setattr(answer, name, max(0, min(number, 2**31 - 1)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
