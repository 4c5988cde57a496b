"""JSONL: three formats for trainers, and the rows of the import format."""

from collections.abc import Iterable, Iterator
from typing import Any

from labeling.datasets.formats.base import JSONL, ExportContext, ExportRow, Format, chunked, extra_columns
from slmstudio.contract.schema.compiled import dumps


def instruct(examples: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
    """``{"instruction", "input", "output"}``; documents without a label are left out."""
    return chunked(
        _line(instruction=about.instruction, input=one.text, output=about.compiled.canonical(one.gold))
        for one in examples
        if one.gold is not None
    )


def chat(examples: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
    """``{"messages"}`` of system, user and assistant; documents without a label are left out."""
    return chunked(
        _line(
            messages=[
                {"role": "system", "content": about.instruction},
                {"role": "user", "content": one.text},
                {"role": "assistant", "content": about.compiled.canonical(one.gold)},
            ]
        )
        for one in examples
        if one.gold is not None
    )


def completion(examples: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
    """``{"prompt", "completion"}``; documents without a label are left out."""
    return chunked(
        _line(
            prompt=f"{about.instruction}\n\nDocument:\n{one.text}\n\nJSON:\n",
            completion=about.compiled.canonical(one.gold),
        )
        for one in examples
        if one.gold is not None
    )


def rows(examples: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
    """What the import reads: id, text, gold and tags, and beside them everything else that came with a document."""
    return chunked(_line(**row(one)) for one in examples)


def row(one: ExportRow) -> dict[str, Any]:
    """One example as an import row."""
    line: dict[str, Any] = {"id": one.id, "text": one.text}
    if one.gold is not None:
        line["gold"] = one.gold
    if one.tags:
        line["tags"] = one.tags
    return line | extra_columns(one)


def _line(**values: Any) -> str:
    return f"{dumps(values)}\n"


INSTRUCT = Format(
    name="instruct",
    title="Instruct",
    description="instruction, input, output",
    extension="jsonl",
    content_type=JSONL,
    write=instruct,
    needs_gold=True,
)
CHAT = Format(
    name="chat",
    title="Chat",
    description="messages of system, user and assistant",
    extension="jsonl",
    content_type=JSONL,
    write=chat,
    needs_gold=True,
)
COMPLETION = Format(
    name="completion",
    title="Prompt and completion",
    description="a prompt text and its completion",
    extension="jsonl",
    content_type=JSONL,
    write=completion,
    needs_gold=True,
)
ROWS = Format(
    name="rows",
    title="Rows",
    description="id, text, gold, tags: the import format",
    extension="jsonl",
    content_type=JSONL,
    write=rows,
    has_pages=True,
)
