"""Reads what a server answers to POST /chat/completions: an error's reason, a choice, a text, its tokens. Pure.

The fields are those that OpenAI documents (platform.openai.com/docs/api-reference/chat); a model's thought is no part
of its answer, whether it stands in a field of its own (``reasoning_content`` of DeepSeek and vLLM, ``reasoning`` of
OpenRouter and Ollama) or in ``<think>`` in front of it (``evaluation.inference.answers``).
"""

import json
from collections.abc import Sequence
from typing import Any

from training.prompts import Message

#: fields of a message that hold a thought
_THOUGHTS = ("reasoning_content", "reasoning")


def reason_of(text: str) -> str:
    """The message of an error, in any of the forms servers write it."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        start = text.lstrip()[:1]
        return "" if start == "<" else text[:200]
    error = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(error, dict):
        listed = "; ".join(": ".join(filter(None, (name, words))) for name, words in _details(error))
        parts = [error.get("code"), listed or error.get("message") or error.get("detail")]
        return ": ".join(str(part)[:250] for part in parts if isinstance(part, str | int))
    return error[:250] if isinstance(error, str) else ""


def refused_parameter(text: str) -> str:
    """The parameter that a server refuses, as its error names it; "" where it names none."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ""
    named = error.get("param")
    if isinstance(named, str) and named:
        return named
    return next((name for name, _ in _details(error) if name), "")


def _details(error: dict[str, Any]) -> list[tuple[str, str]]:
    """What an error lists as FastAPI and pydantic do, under ``detail`` or, as Mistral does, ``message.detail``: the
    parameter of each (the first name of its ``loc`` inside the body) and its message."""
    message = error.get("message")
    listed = error.get("detail") or (message.get("detail") if isinstance(message, dict) else None)
    found = []
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, dict):
            loc = one.get("loc")
            names = [part for part in loc if isinstance(part, str)] if isinstance(loc, list) else []
            words = one.get("msg")
            inside = names[1:] if names[:1] == ["body"] else names
            found.append((inside[0] if inside else "", words if isinstance(words, str) else ""))
    return found


def thought_of(message: dict[str, Any]) -> str:
    """What a server says of a thought in a field of its own."""
    return "".join(value for name in _THOUGHTS if isinstance(value := message.get(name), str))


def first_choice(answer: Any) -> dict[str, Any] | None:
    """The choice of a completion; None where it has none."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def content_of(message: dict[str, Any]) -> str | None:
    """The text of a message; some servers write it in parts. None where it is no message that could have one.

    A server that puts a thought apart says null, or leaves the text out, where all tokens went into the thought. With a
    call of a tool null means something else: that there is no answer, and no tool was offered.
    """
    content = message.get("content")
    if content is None:
        called = message.get("tool_calls") or message.get("function_call")
        answered = "content" in message or message.get("role") == "assistant"
        return "" if answered and not called else None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def usage_of(answer: dict[str, Any]) -> tuple[int | None, int | None, int]:
    """Tokens in all, tokens written, each where the server counted it, and how many of these were thinking.

    A thought is written, too, and paid for. Most servers count it among ``completion_tokens``; where these and the
    tokens read are fewer than all, the rest was thinking.
    """
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None, None, 0
    total, read, written = (usage.get(name) for name in ("total_tokens", "prompt_tokens", "completion_tokens"))
    details = usage.get("completion_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, dict) else None
    thought = thought if type(thought) is int and thought > 0 else 0
    if type(total) is not int or not 0 < total < 10**8:
        return None, None, 0
    if type(read) is int and (written is None or (type(written) is int and written < total - read)):
        written = total - read
    if type(written) is not int or not 0 <= written <= total:
        return total, None, 0
    return total, written, min(thought, written)


def guessed_tokens(messages: Sequence[Message], text: str, content: str) -> tuple[int, int]:
    """Tokens in all and tokens written: four characters to a token, where nobody counted."""
    read = sum(len(message["content"]) for message in messages)
    return (read + min(len(text), 20_000)) // 4, min(len(content), 20_000) // 4
