"""Logs of requests: OpenAI batches and stored completions, LiteLLM, Helicone and others with both bodies in a row."""

from collections.abc import Iterator
from typing import Any, Final

from labeling.imports.conversations.exchanges import (
    Exchange,
    ShapeError,
    as_dict,
    is_request,
    logged,
    parsed,
    time_text,
)
from labeling.imports.conversations.files import identifier

_REQUESTS: Final = ("request_body", "requestBody", "request", "reqPayload", "req_payload", "body")
_RESPONSES: Final = ("response_body", "responseBody", "response", "respPayload", "resp_payload", "completion")
_TIMES: Final = (
    "request_created_at",
    "startTime",
    "start_time",
    "requestedAt",
    "created_at",
    "created",
    "timestamp",
    "time",
)
_IDS: Final = ("request_id", "id", "call_id", "trace_id")


# -- batches: the request and the response are in two files ------------------------------------------------------------


def is_batch(value: dict[str, Any]) -> bool:
    """A line of a batch's input or output."""
    return isinstance(value.get("custom_id"), str) and (
        is_batch_request(value) or "response" in value or "result" in value
    )


def is_batch_request(value: dict[str, Any]) -> bool:
    """A line of an input: it has a body (OpenAI) or parameters (Anthropic)."""
    return isinstance(value.get("body", value.get("params")), dict)


def read_batch(request: dict[str, Any], response: dict[str, Any] | None) -> Exchange:
    """The exchange of a batch's two lines; without a response the request has no answer."""
    body = request.get("body", request.get("params"))
    answered = as_dict(response)
    result = as_dict(answered.get("response")).get("body") or as_dict(answered.get("result")).get("message")
    return logged(body, result or None, id=str(request["custom_id"]))


# -- both bodies in one row --------------------------------------------------------------------------------------------


def _completion(value: dict[str, Any]) -> dict[str, Any]:
    """The completion in a row of stored completions."""
    return (
        as_dict(value.get("completion"))
        if as_dict(value.get("completion")).get("object") == "chat.completion"
        else value
    )


def is_stored(value: dict[str, Any]) -> bool:
    """A chat completion with its input messages, or a page of them."""
    if value.get("object") == "list" and isinstance(value.get("data"), list):
        return any(is_stored(as_dict(completion)) for completion in value["data"][:3])
    return _completion(value).get("object") == "chat.completion"


def read_stored(value: dict[str, Any]) -> Iterator[Exchange]:
    """Completions with the messages that the API returns for each (``messages``, ``input`` or a page of them)."""
    if value.get("object") == "list":
        for completion in value.get("data") or ():
            yield from read_stored(as_dict(completion))
        return
    completion = _completion(value)
    asked = next((value[key] for key in ("messages", "input_messages", "input", "request") if value.get(key)), None)
    if as_dict(asked).get("object") == "list":
        asked = as_dict(asked).get("data")
    if asked is None:
        raise ShapeError("the completion has no input messages; include them in the export")
    request = asked if isinstance(asked, dict) else {**completion, **value, "messages": asked}
    yield logged(request, completion, id=str(completion.get("id", "")))


def _bodies(value: dict[str, Any]) -> tuple[Any, Any] | None:
    """The request and the response of a row. LiteLLM has the messages in the row itself."""
    for key in _REQUESTS:
        body = parsed(value.get(key))
        body = as_dict(body).get("body", body)
        if is_request(body):
            response = next((value[name] for name in _RESPONSES if value.get(name) is not None), None)
            return body, as_dict(parsed(response)).get("body", response)
    messages = parsed(value.get("messages"))
    if "response" in value and (isinstance(messages, list) or is_request(messages)):
        parameters = as_dict(parsed(value.get("model_parameters", value.get("optional_params"))))
        body = messages if isinstance(messages, dict) else {"messages": messages}
        return {**parameters, **body}, value["response"]
    return None


def is_log(value: dict[str, Any]) -> bool:
    """A row with a request and a response."""
    return "custom_id" not in value and _bodies(value) is not None


def read_log(value: dict[str, Any]) -> Iterator[Exchange]:
    """A row of a request log."""
    bodies = _bodies(value)
    if bodies is None:
        raise ShapeError("a request with a response is missing")
    model = next(
        (value[key] for key in ("model", "request_model", "response_model") if isinstance(value.get(key), str)), ""
    )
    times = (time_text(value[key]) for key in _TIMES if value.get(key))
    name = next((str(value[key]) for key in _IDS if isinstance(value.get(key), str | int)), "") or identifier(value)
    yield logged(*bodies, model=model, time=next(filter(None, times), ""), id=name)
