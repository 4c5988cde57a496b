"""A completion: the text that a model generated for a prompt, with its status, tokens and time."""

from dataclasses import dataclass, field

from evaluation.inference.response_status import ResponseStatus


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
