"""A completion: the text that a model generated for a prompt, with its status, tokens and time. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema


class ResponseStatus(StrEnum):
    """How a request about one document ended. Stored in ``PrelabelItem.outcome`` and in files of outputs."""

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


STATUS_LABELS = {
    ResponseStatus.WAITING: "pending",
    ResponseStatus.VALID: "valid",
    ResponseStatus.INVALID: "schema violation",
    ResponseStatus.NOT_JSON: "not a JSON object",
    ResponseStatus.CUT_OFF: "truncated at the token limit",
    ResponseStatus.EMPTY: "empty response",
    ResponseStatus.DECLINED: "refused by the model",
    ResponseStatus.WEB_PAGE: "HTML instead of JSON (check the URL)",
    ResponseStatus.NO_COMPLETION: "not a chat completion response",
    ResponseStatus.TOO_BIG: "response too large",
    ResponseStatus.TIMEOUT: "timed out",
    ResponseStatus.UNREACHABLE: "connection failed",
    ResponseStatus.BUSY: "unavailable after several retries",
    ResponseStatus.REFUSED: "request rejected",
    ResponseStatus.TOO_LONG: "document exceeds the context length",
    ResponseStatus.MODEL_ERROR: "model error",
    ResponseStatus.HELD_OUT: "moved to the hold-out during the run",
    ResponseStatus.GONE: "document deleted during the run",
}
#: statuses whose output can fill a form
USABLE = (ResponseStatus.VALID, ResponseStatus.INVALID)
#: statuses with an output, which is stored verbatim
ANSWERED = (*USABLE, ResponseStatus.NOT_JSON, ResponseStatus.CUT_OFF, ResponseStatus.EMPTY)


@dataclass(frozen=True, slots=True)
class Completion:
    """The response to one prompt.

    ``content`` is all generated text, ``text`` the JSON in it. ``tokens`` counts prompt and output together;
    ``output_tokens`` are the generated ones, ``reasoning_tokens`` the part of them spent on reasoning. ``estimated``:
    the server did not count tokens. ``seconds``: from the first request to the end, with retries and pauses.
    ``windows``: parts in which the document was read.
    ``http_status``: 0 without a response. ``rejected_parameter``: the parameter that an error names.
    """

    status: ResponseStatus
    detail: str = ""
    text: str = ""
    confidence: dict[str, float] = field(default_factory=dict)
    content: str = ""
    tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    attempts: int = 0
    seconds: float = 0
    http_status: int = 0
    rejected_parameter: str = ""
    windows: int = 1


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
