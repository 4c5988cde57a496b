"""Requests and responses as the APIs of OpenAI, Anthropic and Gemini write them."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from labeling.imports.conversations.exchanges import (
    ASSISTANT,
    USER,
    Exchange,
    ShapeError,
    as_dict,
    exchange,
    parsed,
    text_of,
)

#: of seconds (in the year 5138); larger numbers count in smaller units
_MAX_SECONDS: Final = 10**11
#: of a time in any unit
_TIME_DIGITS: Final = 20
_MAX_TIME: Final = Decimal(10) ** _TIME_DIGITS


def is_request(value: Any) -> bool:
    """Whether a value is the body of a request."""
    return isinstance(value, dict) and (
        any(isinstance(value.get(name), list) for name in ("messages", "contents"))
        or ("input" in value and bool({"model", "instructions", "text"} & value.keys()))
    )


def messages_of(body: Any) -> list[Any]:
    """The messages of a request, without its separate system prompt."""
    if isinstance(body, list):
        return body[0] if len(body) == 1 and isinstance(body[0], list) else body
    if isinstance(body, str):
        return [{"role": USER, "content": body}]
    for name in ("messages", "contents", "input", "prompt"):
        value = parsed(as_dict(body).get(name))
        if isinstance(value, list) and value:
            return messages_of(value)
        if isinstance(value, str):
            return [{"role": USER, "content": value}]
    raise ShapeError("the request has no messages")


def system_of(body: Any) -> str:
    """The system prompt that a request has apart from its messages."""
    body = as_dict(body)
    config = as_dict(body.get("config"))
    for name in ("system", "systemInstruction", "system_instruction", "instructions"):
        if value := body.get(name, config.get(name)):
            return text_of(value)
    return ""


def schema_of(body: Any) -> dict[str, Any] | None:
    """The schema that a request demands: its response format, its only function, or the one that it must call."""
    body = as_dict(body)
    config = as_dict(body.get("generationConfig", body.get("generation_config", body.get("config"))))
    for value in (
        as_dict(as_dict(body.get("response_format")).get("json_schema")).get("schema"),
        as_dict(as_dict(body.get("text")).get("format")).get("schema"),
        as_dict(as_dict(body.get("output_config")).get("format")).get("schema"),
        as_dict(body.get("output_format")).get("schema"),
        config.get("responseJsonSchema", config.get("response_json_schema")),
        config.get("responseSchema", config.get("response_schema")),
    ):
        if isinstance(value, dict):
            return value
    return _function(body)


def _function(body: dict[str, Any]) -> dict[str, Any] | None:
    tools = parsed(body.get("tools") or body.get("functions") or [])
    schemas: dict[str, Any] = {}
    for tool in tools if isinstance(tools, list) else ():
        declared = as_dict(tool).get("functionDeclarations", as_dict(tool).get("function_declarations"))
        for function in declared if isinstance(declared, list) else [as_dict(as_dict(tool).get("function")) or tool]:
            function = as_dict(function)
            schema = function.get("parameters", function.get("input_schema", function.get("parametersJsonSchema")))
            if isinstance(schema, dict):
                schemas[str(function.get("name", ""))] = schema
    choice = as_dict(body.get("tool_choice", body.get("function_call")))
    named = as_dict(choice.get("function")).get("name", choice.get("name"))
    if named in schemas:
        return dict(schemas[named])
    return dict(next(iter(schemas.values()))) if len(schemas) == 1 else None


def answer_of(body: Any) -> Any:
    """The message or the text of a response; None if it has none."""
    body = parsed(body)
    if isinstance(body, list):
        return answer_of(body[-1]) if body else None
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("error"), dict) and "message" in body["error"]:
        return None  # a failed request
    choices = body.get("choices")
    if isinstance(choices, list):
        first = as_dict(choices[0]) if choices else {}
        return first.get("message", first.get("text"))
    candidates = body.get("candidates")
    if isinstance(candidates, list):
        content = as_dict(as_dict(candidates[0]).get("content")) if candidates else {}
        return {**content, "role": ASSISTANT} if content else None
    if isinstance(body.get("output"), list):  # Responses
        return _responses(body["output"])
    if isinstance(body.get("content"), list) or (isinstance(body.get("role"), str) and "content" in body):
        return {**body, "role": ASSISTANT}
    return body


def _responses(output: list[Any]) -> dict[str, Any]:
    items = [as_dict(item) for item in output]
    texts = [item.get("content") for item in items if item.get("type") == "message"]
    calls = [{"function": item} for item in items if item.get("type") == "function_call"]
    return {"role": ASSISTANT, "content": texts[-1] if texts else None, "tool_calls": calls}


def time_text(value: Any) -> str:
    """A time as ISO 8601 in UTC: of seconds, milliseconds, micro- or nanoseconds since 1970, or the text as it is.

    Raises:
        ShapeError: the number is no time.
    """
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        return value[:40]
    if not isinstance(value, int | Decimal | str) or isinstance(value, bool):
        return ""
    seconds = Decimal(value)
    if not -_MAX_TIME < seconds < _MAX_TIME:
        raise ShapeError(f"the time {str(value)[:_TIME_DIGITS]}… has more than {_TIME_DIGITS} digits")
    while abs(seconds) > _MAX_SECONDS:
        seconds /= 1000
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="seconds")


def logged(request: Any, response: Any, **known: Any) -> Exchange:
    """The exchange of a request and its response.

    Raises:
        ShapeError: the request has no message of a user.
    """
    request, response = parsed(request), parsed(response)
    body, result = as_dict(request), as_dict(response)
    known.setdefault("schema", schema_of(body))
    known.setdefault("system", system_of(body))
    known["model"] = str(
        known.get("model") or result.get("model") or result.get("modelVersion") or body.get("model") or ""
    )
    known["time"] = known.get("time") or time_text(result.get("created", result.get("created_at")))
    return exchange(messages_of(request), answer_of(response), **known)
