"""An exchange: what a model was asked and what it answered, read from the messages, requests and responses of the APIs
of OpenAI, Anthropic and Gemini.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from slmstudio.contract.json_text import JsonError, dumps, loads

SYSTEM, USER, ASSISTANT, TOOL = "system", "user", "assistant", "tool"
_ROLES: Final = {
    **dict.fromkeys(("system", "developer"), SYSTEM),
    **dict.fromkeys(("user", "human", "prompter"), USER),
    **dict.fromkeys(("assistant", "ai", "gpt", "model", "bot", "chatgpt", "function_call", "tool_call"), ASSISTANT),
    **dict.fromkeys(("tool", "function", "observation", "tool_response"), TOOL),
}
#: types of parts that hold no text of the conversation
_SILENT: Final = ("thinking", "redacted_thinking", "reasoning", "tool_use", "tool_call", "tool_result",
                  "tool_call_response", "function_call")  # fmt: skip
_MEDIA: Final = ("image", "image_url", "input_image", "audio", "input_audio", "file", "input_file", "document", "video",
                 "blob", "uri", "fileData", "inlineData", "file_data", "inline_data")  # fmt: skip

#: of seconds (in the year 5138); larger numbers count in smaller units
_MAX_SECONDS: Final = 10**11
#: of a time in any unit
_TIME_DIGITS: Final = 20
_MAX_TIME: Final = Decimal(10) ** _TIME_DIGITS


class ShapeError(ValueError):
    """Why a value is not an exchange."""


@dataclass(frozen=True, slots=True)
class Call:
    """The name of a called function ("" if it is unknown), and its arguments as JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A message. ``calls`` are the functions that it calls."""

    role: str
    text: str
    calls: tuple[Call, ...] = ()

    @property
    def arguments(self) -> str:
        """Those of all its calls."""
        return " ".join(call.arguments for call in self.calls)


@dataclass(slots=True)
class Exchange:
    """A request and its answer. ``answer`` is JSON, any other text, or None; ``schema`` is what the request demands.
    ``functions``: the names of the functions that the answer calls; their arguments are the answer.
    ``is_suggestion``: a model's answer in a file that has people's as well, so it is never gold.
    """

    turns: list[Turn]
    system: str = ""
    answer: str | None = None
    functions: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    model: str = ""
    time: str = ""
    id: str = ""
    is_suggestion: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def is_single(self) -> bool:
        """Whether the document is one user turn."""
        return len(self.turns) == 1

    @property
    def text(self) -> str:
        """The last user turn; with earlier turns, all of them with their roles."""
        if self.is_single:
            return self.turns[0].text
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.text or turn.arguments}" for turn in self.turns)


def as_dict(value: Any) -> dict[str, Any]:
    """The object; an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def parsed(value: Any) -> Any:
    """A value that can be written as JSON in a text."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return loads(value)
        except JsonError:
            return value
    return value


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list.

    Raises:
        ShapeError: a part is an image, a file or audio.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(filter(None, map(text_of, content)))
    if isinstance(content, dict):
        kind = str(content.get("type", ""))
        if kind in _MEDIA or (not kind and any(name in content for name in _MEDIA)):
            raise ShapeError("the message contains an image, audio or a file; only text is imported")
        if kind in _SILENT:
            return ""
        text = content.get("text", content.get("content", content.get("parts")))
        if isinstance(text, dict):
            text = text.get("value")
        return text_of(text)
    return str(content)


def calls_of(message: Mapping[str, Any]) -> Iterator[Call]:
    """The functions that a message calls."""
    for call in message.get("tool_calls") or ():
        body = as_dict(call)
        yield _call(as_dict(body.get("function")) or body)
    if isinstance(message.get("function_call"), dict):
        yield _call(message["function_call"])
    content = message.get("content", message.get("parts"))
    for part in content if isinstance(content, list) else ():
        part = as_dict(part)
        for name in ("functionCall", "function_call", "toolUse"):
            if isinstance(part.get(name), dict):
                yield _call(part[name])
        if part.get("type") in ("tool_use", "tool_call"):
            yield _call(part)


def _call(body: Mapping[str, Any]) -> Call:
    arguments = next((body[key] for key in ("arguments", "args", "input") if key in body), None)
    return Call(str(body.get("name") or ""), _json(arguments))


def _json(value: Any) -> str:
    return value if isinstance(value, str) else dumps({} if value is None else value)


def turn_of(message: Any) -> Turn:
    """A message of OpenAI, Anthropic, Gemini, ShareGPT or OpenTelemetry as a turn.

    Raises:
        ShapeError: it is none.
    """
    if not isinstance(message, dict):
        raise ShapeError("a message is not an object")
    name = message.get("role", message.get("from", message.get("type")))
    role = _ROLES.get(str(name).lower())
    if role is None:
        raise ShapeError(f"a message has the unknown role {str(name)[:40]}")
    content = message.get("content", message.get("parts", message.get("value", message.get("text"))))
    if content is None:
        content = message.get("content_parts")
    if str(name) in ("function_call", "tool_call"):
        call = as_dict(parsed(content))
        return Turn(role, "", (_call(call) if "arguments" in call else Call("", _json(content)),))
    return Turn(role, text_of(content), tuple(calls_of(message)))


def exchange(messages: Any, answer: Any = None, **known: Any) -> Exchange:
    """The last exchange of a conversation. ``answer``: the message or text that follows it, where it is apart.

    Raises:
        ShapeError: a message is invalid, or no user asks.
    """
    if not isinstance(messages, list) or not messages:
        raise ShapeError("messages are missing")
    turns = [turn_of(message) for message in messages]
    if answer is not None:
        turns.append(
            turn_of(answer) if isinstance(answer, dict) and _has_role(answer) else Turn(ASSISTANT, _json(answer))
        )
    last = max((number for number, turn in enumerate(turns) if turn.role == USER), default=-1)
    if last < 0:
        raise ShapeError("a user message is missing")
    asked = [turn for turn in turns[: last + 1] if turn.role != SYSTEM]
    system = "\n\n".join([*filter(None, [known.pop("system", "")]), *(t.text for t in turns if t.role == SYSTEM)])
    answered, functions = _answer(turns[last + 1 :])
    return Exchange(asked, system=system, answer=answered, functions=functions, **known)


def _has_role(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("role"), str) and bool({"content", "parts", "tool_calls"} & value.keys())


def _answer(turns: Sequence[Turn]) -> tuple[str | None, tuple[str, ...]]:
    """What the assistant wrote: the last text with JSON, else the arguments of its last call, else its last text. With
    the functions that it called last, if their arguments are the answer.
    """
    texts = [turn.text for turn in turns if turn.role == ASSISTANT and turn.text.strip()]
    for text in reversed(texts):
        if "{" in text or "[" in text:
            return text, ()
    calls = next((turn.calls for turn in reversed(turns) if turn.role == ASSISTANT and turn.calls), ())
    if calls:
        return calls[-1].arguments, tuple(call.name for call in calls)
    return (texts[-1] if texts else None), ()


# -- requests and responses -------------------------------------------------------------------------------------------


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
