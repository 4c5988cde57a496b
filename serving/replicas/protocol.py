"""What replicas and gateways agree on. Pure: the child process imports it too."""

from dataclasses import dataclass, field
from typing import Any

#: the environment variable with the secrets that a replica accepts, separated by blanks
SECRET_VARIABLE = "REPLICA_SECRET"
#: characters of a document
MAX_TEXT = 4_000_000
Confidence = dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The output for one document.

    ``finish_reason``: stop, length (the token limit), or error; then ``code`` (too_long, grammar, engine) and ``error``
    say why. ``queue_ms``: waiting for a slot; ``model_ms``: tokenization, grammar, prefill and decoding.
    ``confidence``: field -> lowest and mean probability of its tokens, and where the engine gives it how much more
    probable its first token was than the next one.
    """

    raw: str
    finish_reason: str
    queue_ms: float = 0.0
    model_ms: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    confidence: Confidence = field(default_factory=dict)
    error: str = ""
    code: str = ""

    @classmethod
    def failed(cls, code: str, error: str, *, queue_ms: float = 0.0, model_ms: float = 0.0) -> "ModelOutput":
        """A document without an output."""
        return cls("", "error", queue_ms, model_ms, error=error, code=code)

    @classmethod
    def parse(cls, value: Any) -> "ModelOutput":
        """Reads what a replica sent. Raises ValueError where it is no answer."""
        try:
            confidence = {str(path): _numbers(numbers) for path, numbers in value["confidence"].items()}
            if value["finish_reason"] not in ("stop", "length", "error"):
                raise ValueError(f"the finish reason {value['finish_reason']!r}")
            return cls(
                str(value["raw"]), str(value["finish_reason"]), float(value["queue_ms"]), float(value["model_ms"]),
                int(value["prompt_tokens"]), int(value["output_tokens"]), confidence, str(value["error"]),
                str(value["code"]),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no answer of a replica: {error}") from error


def _numbers(values: Any) -> tuple[float, ...]:
    if not 2 <= len(values) <= 3:
        raise ValueError("the confidence of a field has two or three numbers")
    return tuple(map(float, values))
