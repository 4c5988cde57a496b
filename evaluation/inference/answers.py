"""What a model wrote, read: the JSON in it, where its tokens end, and the name of what came out. Pure."""

import re
from enum import StrEnum
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema

_THOUGHT = re.compile(r"\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL)
#: of a thought whose beginning stands in the prompt
_THOUGHT_ENDS = re.compile(r"</think(?:ing)?>")
_FENCE = re.compile(r"```[a-zA-Z]*[ \t]*\r?\n(.*?)```", re.DOTALL)


class Outcome(StrEnum):
    """The named ends of a document; the words stand beside them in ``WORDS``."""

    WAITING = "waiting"
    VALID = "valid"
    INVALID = "invalid"
    NOT_JSON = "not_json"
    CUT_OFF = "cut_off"
    EMPTY = "empty"
    DECLINED = "declined"
    WEB_PAGE = "web_page"
    NO_COMPLETION = "no_completion"
    TOO_BIG = "too_big"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    BUSY = "busy"
    REFUSED = "refused"
    TOO_LONG = "too_long"
    MODEL_ERROR = "model_error"
    HELD_OUT = "held_out"
    GONE = "gone"


WORDS = {
    Outcome.WAITING: "not asked",
    Outcome.VALID: "fits the schema",
    Outcome.INVALID: "breaks the schema",
    Outcome.NOT_JSON: "no JSON object",
    Outcome.CUT_OFF: "cut off before its end",
    Outcome.EMPTY: "an empty answer",
    Outcome.DECLINED: "the model declined",
    Outcome.WEB_PAGE: "a web page instead of an answer",
    Outcome.NO_COMPLETION: "not the answer of a chat completion",
    Outcome.TOO_BIG: "an answer that is too big",
    Outcome.TIMEOUT: "no answer in time",
    Outcome.UNREACHABLE: "could not be reached",
    Outcome.BUSY: "busy or broken, after several tries",
    Outcome.REFUSED: "the request was refused",
    Outcome.TOO_LONG: "longer than the model reads",
    Outcome.MODEL_ERROR: "the model broke on it",
    Outcome.HELD_OUT: "moved to the hold-out meanwhile",
    Outcome.GONE: "deleted meanwhile",
}
#: what fills a form
USABLE = (Outcome.VALID, Outcome.INVALID)
#: what is kept as it came: there was an answer
ANSWERED = (*USABLE, Outcome.NOT_JSON, Outcome.CUT_OFF, Outcome.EMPTY)


def without_thought(content: str) -> str:
    """What a model wrote behind its thought; "" where the thought never ends."""
    return content[_behind_thought(content) :].lstrip()


def _behind_thought(content: str) -> int:
    thought = _THOUGHT.match(content)
    if thought is None and content.lstrip()[:1] != "{":
        thought = _THOUGHT_ENDS.search(content)
    return thought.end() if thought else 0


def json_of(content: str) -> tuple[int, str]:
    """Where the answer's JSON begins in what a model wrote, and that JSON.

    A thought in front of it and the fence around it are left out, and so is talk before its first and behind its last
    brace. A text without braces comes back as it is. A thought that never ends is no answer, whatever braces it has.
    """
    start = _behind_thought(content)
    fence = _FENCE.search(content, start)
    start, end = fence.span(1) if fence else (start, len(content))
    first, last = content.find("{", start, end), content.rfind("}", start, end)
    if first < 0:
        first = start
    return first, content[first : last + 1 if last >= first else end].rstrip()


def outcome_of(compiled: CompiledSchema, text: str, *, cut: bool) -> tuple[Outcome, str]:
    """The name of an answer, and what is wrong with it. ``cut``: it ended because it was long enough."""
    if not text.strip():
        return (Outcome.CUT_OFF, "Every token went before the answer began.") if cut else (Outcome.EMPTY, "")
    value, problems = compiled.check(text)
    if isinstance(value, dict):
        if not problems:
            return Outcome.VALID, ""
        first = problems[0]
        return Outcome.INVALID, f"{first.path or 'the document'} {first.message}"[:290]
    if cut:
        return Outcome.CUT_OFF, ""
    return Outcome.NOT_JSON, (problems[0].message if problems else "It is no object.")[:290]


def token_ends(tokens: list[Any], content: str) -> list[int] | None:
    """Where each token of a chat completion's logprobs ends in its text; None where the text is not made of them.

    A token is its ``bytes`` where they are given, because a letter may be spread over several tokens. Some servers
    leave a fence or a thought out of the text and not out of the tokens (llama.cpp does): what stood before the text
    ends at 0, and each token behind it one place further beyond its end.
    """
    written, ends = b"", []
    for token in tokens:
        piece = token.get("bytes")
        if not _is_bytes(piece):
            text = token.get("token")
            if not isinstance(text, str):
                return None
            piece = text.encode("utf-8", "surrogatepass")
        written += bytes(piece)
        ends.append(len(written))
    whole = content.encode("utf-8", "surrogatepass")
    start = written.rfind(whole)
    if start < 0:
        return None
    places = _letters(whole)
    found, begin, beyond = [], 0, 0
    for end in ends:
        beyond += begin - start >= len(whole)
        found.append(places[min(max(0, end - start), len(whole))] + beyond)
        begin = end
    return found


def _letters(whole: bytes) -> list[int]:
    """For each number of bytes of a text, how many letters have begun in them."""
    if whole.isascii():
        return list(range(len(whole) + 1))
    letters, places = 0, [0] * (len(whole) + 1)
    for place, byte in enumerate(whole):
        letters += byte & 0xC0 != 0x80
        places[place + 1] = letters
    return places


def _is_bytes(piece: Any) -> bool:
    return isinstance(piece, list) and all(type(one) is int and 0 <= one < 256 for one in piece)
