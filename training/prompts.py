"""Prompts as text and messages. Pure; ``training.ml.data.encoder`` tokenizes them.

A fine-tuned model gets instruction and document: the schema is in its weights, and every prompt token costs time. A
model that is not fine-tuned also gets the schema and few-shot examples.

The completion is the canonical JSON of the gold (``CompiledSchema.canonical``) followed by the end token.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

#: in place of the document in the template of a prompt
PLACEHOLDER = "{document}"


class Message(TypedDict):
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class FewShotExample:
    """A document and its output as canonical JSON."""

    document: str
    answer: str


def prompt_schema(value: Any) -> Any:
    """A schema for a prompt, without the studio's own keywords."""
    if isinstance(value, dict):
        return {key: prompt_schema(inner) for key, inner in value.items() if key not in ("x-slm", "$schema", "$id")}
    return [prompt_schema(inner) for inner in value] if isinstance(value, list) else value


def system_text(instruction: str, schema_text: str | None = None) -> str:
    """The instruction, and the JSON Schema where given."""
    if schema_text is None:
        return instruction.strip()
    return (
        f"{instruction.strip()}\n\n"
        f"Answer with one JSON object that fits this JSON Schema, and nothing else:\n{schema_text}"
    )


def chat(
    *, instruction: str, document: str, schema_text: str | None = None, examples: Sequence[FewShotExample] = ()
) -> list[Message]:
    """The messages of a chat up to the output of the model."""
    messages = [Message(role="system", content=system_text(instruction, schema_text))]
    for example in examples:
        messages.append(Message(role="user", content=example.document))
        messages.append(Message(role="assistant", content=example.answer))
    messages.append(Message(role="user", content=document))
    return messages


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The messages without a system role, for templates without one: its text moves to the first user message."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, first, *rest = messages
    return [Message(role=first["role"], content=f"{system['content']}\n\n{first['content']}"), *rest]


def plain(
    *, instruction: str, document: str, schema_text: str | None = None, examples: Sequence[FewShotExample] = ()
) -> str:
    """One text for models without a chat template: instruction, few-shot examples, document."""
    parts = [system_text(instruction, schema_text)]
    for example in examples:
        parts.append(f"Document:\n{example.document}\n\nJSON:\n{example.answer}")
    parts.append(f"Document:\n{document}\n\nJSON:\n")
    return "\n\n".join(parts)


def escape_special_tokens(text: str, specials: Iterable[str]) -> str:
    """``text`` without special tokens of a tokenizer: a space is inserted after their first character.

    A document that contains ``<|im_end|>`` must not end its message.
    """
    for special in sorted(specials, key=len, reverse=True):
        if len(special) > 1 and special in text:
            text = text.replace(special, f"{special[0]} {special[1:]}")
    return text
