"""The shapes a dataset version can be exported in. Pure: a row in, one line of JSONL out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.schema import CompiledSchema, dumps

Row = dict[str, Any]
Write = Callable[[Row, str, CompiledSchema], str]


@dataclass(frozen=True)
class Shape:
    """One shape: its title, what it is for, and the function that writes a line."""

    title: str
    description: str
    write: Write


def _instruct(row: Row, instruction: str, compiled: CompiledSchema) -> str:
    return _line(instruction=instruction, input=row["text"], output=compiled.canonical(row["gold"]))


def _chat(row: Row, instruction: str, compiled: CompiledSchema) -> str:
    return _line(
        messages=[
            {"role": "system", "content": instruction},
            {"role": "user", "content": row["text"]},
            {"role": "assistant", "content": compiled.canonical(row["gold"])},
        ]
    )


def _prompt_completion(row: Row, instruction: str, compiled: CompiledSchema) -> str:
    prompt = f"{instruction}\n\nDocument:\n{row['text']}\n\nJSON:\n"
    return _line(prompt=prompt, completion=compiled.canonical(row["gold"]))


def _verbatim(row: Row, instruction: str, compiled: CompiledSchema) -> str:
    return _line(**row)


def _line(**values: Any) -> str:
    return f"{dumps(values)}\n"


SHAPES = {
    "instruct": Shape("Instruct", "instruction, input, output", _instruct),
    "chat": Shape("Chat", "messages of system, user and assistant", _chat),
    "prompt_completion": Shape(
        "Prompt and completion", "one text to go on from, and how it goes on", _prompt_completion
    ),
    "rows": Shape("Rows", "the frozen file itself: id, split, text, gold, tags, origin", _verbatim),
}
