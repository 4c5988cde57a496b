"""The status of a response to one document, with its label."""

from enum import StrEnum


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
