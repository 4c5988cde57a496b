"""JSONL: three formats for trainers, and the rows of the import format."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from labeling.datasets.formats.base import JSONL, ExportContext, ExportRow, Format, chunked, extra_columns
from slmstudio.contract.schema.compiled import dumps

Line = Callable[[ExportRow, ExportContext], dict[str, Any]]


def instruct(row: ExportRow, about: ExportContext) -> dict[str, Any]:
    """``{"instruction", "input", "output"}``."""
    return {"instruction": about.instruction, "input": row.text, "output": about.compiled.canonical(row.gold)}


def chat(row: ExportRow, about: ExportContext) -> dict[str, Any]:
    """``{"messages"}`` of system, user and assistant."""
    return {
        "messages": [
            {"role": "system", "content": about.instruction},
            {"role": "user", "content": row.text},
            {"role": "assistant", "content": about.compiled.canonical(row.gold)},
        ]
    }


def completion(row: ExportRow, about: ExportContext) -> dict[str, Any]:
    """``{"prompt", "completion"}``."""
    return {
        "prompt": f"{about.instruction}\n\nDocument:\n{row.text}\n\nJSON:\n",
        "completion": about.compiled.canonical(row.gold),
    }


def import_row(row: ExportRow, about: ExportContext) -> dict[str, Any]:
    """The row of an import: id, text, gold and tags, and all metadata of the document."""
    line: dict[str, Any] = {"id": row.id, "text": row.text}
    if row.gold is not None:
        line["gold"] = row.gold
    if row.tags:
        line["tags"] = row.tags
    return line | extra_columns(row)


def _format(name: str, title: str, description: str, line: Line, *, is_training: bool = True) -> Format:
    """A format of one line per document; rows of the import format also have documents without a label, and pages."""

    def write(rows: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
        labeled = (row for row in rows if not is_training or row.gold is not None)
        return chunked(f"{dumps(line(row, about))}\n" for row in labeled)

    return Format(
        name=name,
        title=title,
        description=description,
        extension="jsonl",
        content_type=JSONL,
        write=write,
        is_training=is_training,
        has_pages=not is_training,
    )


INSTRUCT = _format("instruct", "Instruct", "instruction, input, output", instruct)
CHAT = _format("chat", "Chat", "system, user and assistant messages", chat)
COMPLETION = _format("completion", "Prompt and completion", "a prompt and its completion", completion)
ROWS = _format("rows", "Rows", "id, text, gold, tags: the import format", import_row, is_training=False)
