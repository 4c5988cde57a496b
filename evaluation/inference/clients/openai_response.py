"""Reads the body of a response to POST /chat/completions: errors, and the completion with its tokens. Pure.

The fields are those that OpenAI documents (platform.openai.com/docs/api-reference/chat). Reasoning is no part of the
output, whether it has a separate field (``reasoning_content`` in DeepSeek and vLLM, ``reasoning`` in OpenRouter and
Ollama) or precedes the output in ``<think>`` (``evaluation.inference.completion``).
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from evaluation.inference.completion import Completion, ResponseStatus, classify_output, token_offsets
from evaluation.inference.confidence import per_field
from slmstudio.contract.output_json import extract_json
from slmstudio.contract.schema.compiled import CompiledSchema
from training.prompts import Message

#: fields of a message that hold reasoning
_REASONING_FIELDS = ("reasoning_content", "reasoning")


def parse_completion(text: str, messages: Sequence[Message], compiled: CompiledSchema) -> Completion:
    """The completion in the body of a 200 response to ``messages``. What is no chat completion gets a status."""
    if text.lstrip("\ufeff \r\n\t")[:1] == "<":
        return Completion(ResponseStatus.WEB_PAGE, "The URL returns a web page. It usually ends in /v1.")
    try:
        response = json.loads(text)
    except (ValueError, RecursionError):
        return Completion(ResponseStatus.NO_COMPLETION, f"Not JSON: {text[:80]!r}")
    choice = _first_choice(response)
    message = choice.get("message") if choice else None
    if choice is None or not isinstance(message, dict):
        detail = error_message(text) or "The response has no choices with a message."
        return Completion(ResponseStatus.NO_COMPLETION, detail)
    completion = _parse_message(choice, message, compiled)
    tokens, output, reasoning = _token_usage(response)
    estimated_tokens, estimated_output = _estimate_tokens(messages, text, completion.content + _reasoning_text(message))
    estimated = tokens is None or output is None
    tokens = estimated_tokens if tokens is None else tokens
    output = min(tokens, estimated_output) if output is None else output
    return replace(completion, tokens=tokens, output_tokens=output, reasoning_tokens=reasoning, estimated=estimated)


def _parse_message(choice: dict[str, Any], message: dict[str, Any], compiled: CompiledSchema) -> Completion:
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        return Completion(ResponseStatus.DECLINED, message["refusal"])
    if choice.get("finish_reason") == "content_filter":
        return Completion(ResponseStatus.DECLINED, "Blocked by the content filter.")
    content = _message_text(message)
    if content is None:
        return Completion(ResponseStatus.NO_COMPLETION, "The message has no text.")
    start, output = extract_json(content)
    status, detail = classify_output(compiled, output, truncated=choice.get("finish_reason") == "length")
    return Completion(status, detail, output, _confidence(choice, content, start, output), content)


def _confidence(choice: dict[str, Any], content: str, start: int, output: str) -> dict[str, float]:
    """Field path -> lowest token probability, where the server sent log-probabilities."""
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens or not output:
        return {}
    values = [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return {}
    ends = token_offsets(tokens, content)
    if ends is None:
        return {}
    moved = [max(0, end - start) for end in ends]
    confidence = per_field(output, moved, [float(value) for value in values if value is not None])
    return {path: field.minimum for path, field in confidence.items()}


def error_message(text: str) -> str:
    """The message of an error response, in any of the formats in use; "" for a web page."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        start = text.lstrip()[:1]
        return "" if start == "<" else text[:200]
    error = body.get("error", body) if isinstance(body, dict) else None
    if isinstance(error, dict):
        listed = "; ".join(": ".join(filter(None, (name, message))) for name, message in _details(error))
        parts = [error.get("code"), listed or error.get("message") or error.get("detail")]
        return ": ".join(str(part)[:250] for part in parts if isinstance(part, str | int))
    return error[:250] if isinstance(error, str) else ""


def rejected_parameter(text: str) -> str:
    """The parameter that an error response rejects; "" if it names none."""
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
    """Parameter and message of each error in a list as FastAPI and pydantic write it, under ``detail`` or, as Mistral
    does, ``message.detail``. The parameter is the first name of ``loc`` inside the body."""
    message = error.get("message")
    listed = error.get("detail") or (message.get("detail") if isinstance(message, dict) else None)
    details = []
    for item in listed if isinstance(listed, list) else []:
        if isinstance(item, dict):
            loc, text = item.get("loc"), item.get("msg")
            names = [part for part in loc if isinstance(part, str)] if isinstance(loc, list) else []
            inside = names[1:] if names[:1] == ["body"] else names
            details.append((inside[0] if inside else "", text if isinstance(text, str) else ""))
    return details


def _reasoning_text(message: dict[str, Any]) -> str:
    """Reasoning that a server returns in a separate field."""
    return "".join(value for name in _REASONING_FIELDS if isinstance(value := message.get(name), str))


def _first_choice(response: Any) -> dict[str, Any] | None:
    """The first choice of a chat completion; None if it has none."""
    choices = response.get("choices") if isinstance(response, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _message_text(message: dict[str, Any]) -> str | None:
    """The text of a message, joined where a server sends it in parts; None for a message that cannot have text.

    A server that separates reasoning sends null, or omits the text, where all tokens were spent on reasoning. With a
    tool call null means that there is no text, and no tool was offered.
    """
    content = message.get("content")
    if content is None:
        calls_tool = message.get("tool_calls") or message.get("function_call")
        answered = "content" in message or message.get("role") == "assistant"
        return "" if answered and not calls_tool else None
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def _token_usage(response: dict[str, Any]) -> tuple[int | None, int | None, int]:
    """Total tokens, output tokens, each None if the server did not count them, and the reasoning part of the output.

    Reasoning is generated and paid for. Most servers count it in ``completion_tokens``; where prompt and completion
    tokens are fewer than the total, the rest is reasoning.
    """
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None, None, 0
    total, prompt, output = (usage.get(name) for name in ("total_tokens", "prompt_tokens", "completion_tokens"))
    details = usage.get("completion_tokens_details")
    reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else None
    reasoning = reasoning if type(reasoning) is int and reasoning > 0 else 0
    if type(total) is not int or not 0 < total < 10**8:
        return None, None, 0
    if type(prompt) is int and (output is None or (type(output) is int and output < total - prompt)):
        output = total - prompt
    if type(output) is not int or not 0 <= output <= total:
        return total, None, 0
    return total, output, min(reasoning, output)


def _estimate_tokens(messages: Sequence[Message], text: str, content: str) -> tuple[int, int]:
    """Total and output tokens at four characters a token, where the server did not count them."""
    prompt = sum(len(message["content"]) for message in messages)
    return (prompt + min(len(text), 20_000)) // 4, min(len(content), 20_000) // 4
