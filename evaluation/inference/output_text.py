"""Reads the text that a model generated: its status, and where its tokens end. Pure."""

from typing import Any

from evaluation.inference.response_status import ResponseStatus
from slmstudio.contract.schema.compiled import CompiledSchema


def classify_output(compiled: CompiledSchema, text: str, *, truncated: bool) -> tuple[ResponseStatus, str]:
    """The status of an output and what is wrong with it. ``truncated``: it ended at the token limit."""
    if not text.strip():
        return (
            (ResponseStatus.CUT_OFF, "All tokens were spent on reasoning.") if truncated else (ResponseStatus.EMPTY, "")
        )
    value, problems = compiled.check(text)
    if isinstance(value, dict):
        if not problems:
            return ResponseStatus.VALID, ""
        first = problems[0]
        return ResponseStatus.INVALID, f"{first.path or 'the document'} {first.message}"[:290]
    if truncated:
        return ResponseStatus.CUT_OFF, ""
    return ResponseStatus.NOT_JSON, (problems[0].message if problems else "The output is not a JSON object.")[:290]


def token_offsets(tokens: list[Any], content: str) -> list[int] | None:
    """End of each logprobs token in the content of a chat completion; None if the tokens do not spell the content.

    A token's ``bytes`` are used where the server sends them, because a character can span several tokens. Some servers
    (llama.cpp) remove a fence or reasoning from the content but not from the tokens: tokens before the content end at
    0, and each token after it ends one place further beyond the end.
    """
    joined, ends = b"", []
    for token in tokens:
        piece = token.get("bytes")
        if not _is_bytes(piece):
            text = token.get("token")
            if not isinstance(text, str):
                return None
            piece = text.encode("utf-8", "surrogatepass")
        joined += bytes(piece)
        ends.append(len(joined))
    whole = content.encode("utf-8", "surrogatepass")
    start = joined.rfind(whole)
    if start < 0:
        return None
    places = _characters_by_byte(whole)
    ends_in_content, begin, beyond = [], 0, 0
    for end in ends:
        beyond += begin - start >= len(whole)
        ends_in_content.append(places[min(max(0, end - start), len(whole))] + beyond)
        begin = end
    return ends_in_content


def _characters_by_byte(whole: bytes) -> list[int]:
    """For each number of bytes of a text, how many characters have begun in them."""
    if whole.isascii():
        return list(range(len(whole) + 1))
    characters, places = 0, [0] * (len(whole) + 1)
    for place, byte in enumerate(whole):
        characters += byte & 0xC0 != 0x80
        places[place + 1] = characters
    return places


def _is_bytes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 256 for item in value)
