"""All export formats. A new one is a module with a ``FORMAT``, a line here, and its test."""

from typing import Final

from labeling.datasets.formats import hugging_face, jsonl, label_studio, table
from labeling.datasets.formats.base import Format

#: in the order in which they are listed
FORMATS: Final[dict[str, Format]] = {
    file_format.name: file_format
    for file_format in (
        jsonl.INSTRUCT,
        jsonl.CHAT,
        jsonl.COMPLETION,
        jsonl.ROWS,
        table.FORMAT,
        label_studio.FORMAT,
        hugging_face.FORMAT,
    )
}
