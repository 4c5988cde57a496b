"""What a model is shown: pure text and messages; tokens are made in ``training.ml.data.encoder``.

A tuned model sees the instruction and the document: the schema is in its weights, and every token of a prompt is time
and money. A model that was not tuned is also given the schema and a few solved examples.

The completion is the canonical JSON of the gold (``CompiledSchema.canonical``) followed by the end token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict


class Message(TypedDict):
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """A document and its answer as canonical JSON."""

    document: str
    answer: str


def shown_schema(value: Any) -> Any:
    """A schema as a model is told it: without the studio's own options."""
    if isinstance(value, dict):
        return {key: shown_schema(one) for key, one in value.items() if key not in ("x-slm", "$schema", "$id")}
    return [shown_schema(one) for one in value] if isinstance(value, list) else value


def system_text(instruction: str, schema_text: str | None = None) -> str:
    """The instruction, and the JSON Schema where the model has to be told it."""
    if schema_text is None:
        return instruction.strip()
    return (
        f"{instruction.strip()}\n\n"
        f"Answer with one JSON object that fits this JSON Schema, and nothing else:\n{schema_text}"
    )


def chat(
    *, instruction: str, document: str, schema_text: str | None = None, examples: Sequence[Example] = ()
) -> list[Message]:
    """The turns of a chat up to the one the model is to write."""
    messages = [Message(role="system", content=system_text(instruction, schema_text))]
    for example in examples:
        messages.append(Message(role="user", content=example.document))
        messages.append(Message(role="assistant", content=example.answer))
    messages.append(Message(role="user", content=document))
    return messages


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The same turns for chat templates that know no system role: its text moves in front of the first user turn."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, first, *rest = messages
    return [Message(role=first["role"], content=f"{system['content']}\n\n{first['content']}"), *rest]


def plain(*, instruction: str, document: str, schema_text: str | None = None, examples: Sequence[Example] = ()) -> str:
    """One text for models without a chat template: instruction, solved examples, document, each set off by a line."""
    parts = [system_text(instruction, schema_text)]
    for example in examples:
        parts.append(f"Document:\n{example.document}\n\nJSON:\n{example.answer}")
    parts.append(f"Document:\n{document}\n\nJSON:\n")
    return "\n\n".join(parts)


def defuse(text: str, specials: Iterable[str]) -> str:
    """``text`` in which no special token of a tokenizer stands any more: a blank is put behind its first character.

    A document that contains the text ``<|im_end|>`` must not be able to end the turn it stands in.
    """
    for special in sorted(specials, key=len, reverse=True):
        if len(special) > 1 and special in text:
            text = text.replace(special, f"{special[0]} {special[1:]}")
    return text
