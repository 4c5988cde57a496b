"""All shapes of files with exchanges. A new one is an entry here, its reader, and its test."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from labeling.imports.conversations import argilla, files, logs, traces
from labeling.imports.conversations.exchanges import Exchange


def _no_rows(value: dict[str, Any]) -> Iterator[Exchange]:
    yield from ()


@dataclass(frozen=True)
class Shape:
    """How a file writes exchanges. ``name`` is stored with imports; ``read`` gives the exchanges of one value."""

    name: str
    title: str
    matches: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], Iterator[Exchange]] = _no_rows


ARGILLA: Final = Shape(
    "argilla", "Argilla: records with suggestions and responses", argilla.is_argilla, argilla.read_argilla
)
BATCH: Final = Shape("batch", "Batch: requests and responses, joined by custom_id", logs.is_batch)

#: where two fit a row, the earlier one is detected
SHAPES: Final[dict[str, Shape]] = {
    shape.name: shape
    for shape in (
        ARGILLA,
        BATCH,
        Shape("otlp", "OpenTelemetry: spans of generative AI (OTLP JSON)", traces.is_otlp, traces.read_otlp),
        Shape("stored", "OpenAI: stored chat completions", logs.is_stored, logs.read_stored),
        Shape("langsmith", "LangSmith: runs", traces.is_langsmith, traces.read_langsmith),
        Shape("langfuse", "Langfuse: traces or observations", traces.is_langfuse, traces.read_langfuse),
        Shape("log", "Request log: LiteLLM, Helicone and others", logs.is_log, logs.read_log),
        Shape("anthropic", "Anthropic: fine-tuning file (Bedrock)", files.is_anthropic, files.read_openai),
        Shape("openai", "OpenAI: fine-tuning file (messages)", files.is_openai, files.read_openai),
        Shape("gemini", "Gemini: tuning file (contents)", files.is_gemini, files.read_gemini),
        Shape("sharegpt", "ShareGPT: conversations", files.is_sharegpt, files.read_sharegpt),
        Shape("alpaca", "Alpaca: instruction, input, output", files.is_alpaca, files.read_alpaca),
        Shape("pairs", "Prompt and completion", files.is_pair, files.read_pair),
    )
}


def shape_of(value: Any) -> Shape | None:
    """The shape of a row; None for a row of documents (with ``text``) and for anything else."""
    if not isinstance(value, dict) or (isinstance(value.get("text"), str) and not ARGILLA.matches(value)):
        return None
    return next((shape for shape in SHAPES.values() if shape.matches(value)), None)
