"""The shapes that an export can have, by the name that stands in its address."""

from dataclasses import dataclass
from typing import Final

from labeling.datasets.formats import Write, arrow, jsonl, label_studio, table

JSONL = "application/jsonl; charset=utf-8"


@dataclass(frozen=True)
class Format:
    """One shape: its title, what it is for, and what writes it. ``needs_gold``: documents without a label stay out."""

    title: str
    description: str
    extension: str
    content_type: str
    write: Write
    needs_gold: bool = False


FORMATS: Final[dict[str, Format]] = {
    "instruct": Format("Instruct", "instruction, input, output", "jsonl", JSONL, jsonl.instruct, needs_gold=True),
    "chat": Format("Chat", "messages of system, user and assistant", "jsonl", JSONL, jsonl.chat, needs_gold=True),
    "completion": Format(
        "Prompt and completion",
        "one text to go on from, and how it goes on",
        "jsonl",
        JSONL,
        jsonl.completion,
        needs_gold=True,
    ),
    "rows": Format("Rows", "id, text, gold, tags: what the import reads", "jsonl", JSONL, jsonl.rows),
    "csv": Format(
        "CSV of fields",
        "one column a field; cells that a spreadsheet would run get an apostrophe in front",
        "csv",
        "text/csv; charset=utf-8",
        table.fields,
    ),
    "label-studio": Format(
        "Label Studio", "JSON of tasks with their annotation", "json", "application/json", label_studio.tasks
    ),
    "hf": Format("Hugging Face Datasets", "a zipped folder for load_from_disk", "zip", "application/zip", arrow.folder),
}
