"""An exchange: what a model was asked and what it answered, read from the messages of any API."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
