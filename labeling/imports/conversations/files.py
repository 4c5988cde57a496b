"""Fine-tuning files: OpenAI, Anthropic on Bedrock, Gemini, Alpaca, ShareGPT, pairs of prompt and completion."""

from collections.abc import Iterator
from typing import Any, Final

from labeling.imports.conversations.exchanges import (
    ASSISTANT,
    USER,
    Exchange,
    ShapeError,
    as_dict,
    exchange,
    messages_of,
    parsed,
    schema_of,
    system_of,
    text_of,
    time_text,
)

#: the keys of a pair
_PAIRS: Final = (
    ("prompt", "completion"), ("prompt", "response"), ("input_text", "output_text"), ("input", "expected_output"),
    ("input", "expectedOutput"), ("inputs", "outputs"), ("input", "output"), ("question", "answer"),
)  # fmt: skip
_ID_KEYS: Final = ("id", "custom_id", "uuid", "_id")


def identifier(value: dict[str, Any]) -> str:
    """The id of a row, if it has one."""
    name = next((value[key] for key in _ID_KEYS if isinstance(value.get(key), str | int)), "")
    return "" if isinstance(name, bool) else str(name)


def _known(value: dict[str, Any]) -> dict[str, Any]:
    times = (value.get(key) for key in ("created", "created_at", "timestamp", "time"))
    return {
        "id": identifier(value),
        "model": str(value.get("model") or ""),
        "time": next(filter(None, map(time_text, times)), ""),
        "schema": schema_of(value),
    }


def is_openai(value: dict[str, Any]) -> bool:
    """``messages``, or a preference pair with ``preferred_output``."""
    preferred = isinstance(value.get("preferred_output"), list) and isinstance(
        as_dict(value.get("input")).get("messages"), list
    )
    return preferred or isinstance(value.get("messages"), list)


def read_openai(value: dict[str, Any]) -> Iterator[Exchange]:
    """A row of a chat fine-tuning file, also with tools; of a preference pair, the preferred answer."""
    body = as_dict(value.get("input")) if "messages" not in value else value
    preferred = value.get("preferred_output") if body is not value else None
    known = _known({**body, **value})
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise ShapeError('the list "messages" is missing')
    yield exchange([*messages, *(preferred or [])], system=system_of(body), **known)


def is_anthropic(value: dict[str, Any]) -> bool:
    """``messages`` with a system prompt of its own."""
    return isinstance(value.get("messages"), list) and ("system" in value or "schemaVersion" in value)


def is_gemini(value: dict[str, Any]) -> bool:
    """``contents`` with parts."""
    return isinstance(value.get("contents"), list)


def read_gemini(value: dict[str, Any]) -> Iterator[Exchange]:
    """A row of a tuning file of Gemini."""
    if not is_gemini(value):
        raise ShapeError('the list "contents" is missing')
    yield exchange(messages_of(value), system=system_of(value), **_known(value))


def is_alpaca(value: dict[str, Any]) -> bool:
    """``instruction`` and ``output``."""
    return isinstance(value.get("instruction"), str) and ("output" in value or "response" in value)


def read_alpaca(value: dict[str, Any]) -> Iterator[Exchange]:
    """The input is the document, the instruction the system prompt; or the instruction is the document."""
    instruction, text = value.get("instruction"), value.get("input", value.get("context"))
    if not isinstance(instruction, str):
        raise ShapeError('the string "instruction" is missing')
    history = value.get("history")
    earlier = [
        {"role": role, "content": reply}
        for pair in (history if isinstance(history, list) else ())
        for role, reply in zip((USER, ASSISTANT), pair if isinstance(pair, list) else (), strict=False)
    ]
    has_input = isinstance(text, str) and bool(text.strip())
    system = "\n\n".join(filter(None, [str(value.get("system") or ""), instruction if has_input else ""]))
    asked = {"role": USER, "content": text if has_input else instruction}
    yield exchange([*earlier, asked], value.get("output", value.get("response")), system=system, **_known(value))


def is_sharegpt(value: dict[str, Any]) -> bool:
    """``conversations`` of ``from`` and ``value``, or of ``role`` and ``content``."""
    return isinstance(value.get("conversations"), list)


def read_sharegpt(value: dict[str, Any]) -> Iterator[Exchange]:
    """A row of a ShareGPT file, also with tools as LLaMA-Factory writes them."""
    yield exchange(value.get("conversations"), system=system_of(value), **_known(value))


def _pair(value: dict[str, Any]) -> tuple[Any, Any] | None:
    for asked, answered in _PAIRS:
        if value.get(asked) and answered in value:
            return value[asked], value[answered]
    return None


def is_pair(value: dict[str, Any]) -> bool:
    """A prompt and a completion, under their usual names."""
    return _pair(value) is not None


def read_pair(value: dict[str, Any]) -> Iterator[Exchange]:
    """A prompt (a text, messages, or an object with one of them) and its completion."""
    pair = _pair(value)
    if pair is None:
        raise ShapeError("a prompt with a completion is missing")
    asked, answered = parsed(pair[0]), parsed(pair[1])
    if isinstance(answered, list) and answered and "role" in as_dict(answered[-1]):
        answered = answered[-1]
    yield exchange(
        _asked(asked),
        answered,
        system=system_of(asked),
        **{**_known(value), "schema": schema_of(asked) or schema_of(value)},
    )


def _asked(asked: Any) -> list[Any]:
    """The messages of a prompt; an object with one text is that text."""
    try:
        messages = messages_of(asked)
    except ShapeError:
        texts = [text for text in as_dict(asked).values() if isinstance(text, str)]
        if len(texts) != 1:
            raise
        return messages_of(texts[0])
    if messages and not all(isinstance(message, dict) for message in messages):
        return [{"role": USER, "content": text_of(messages)}]
    return messages
