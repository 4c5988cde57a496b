"""Reading what people import, one module per format. Pure: no Django, streaming, nothing but rows comes out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slmstudio.contract.schema.compiled import CompiledSchema

#: every kind of upload, and what people call it
KINDS: Final = {
    "jsonl": "JSONL: one JSON object a line",
    "json": "JSON: a list of objects",
    "csv": "CSV or TSV: a table",
    "text": "Text: the whole file is one document",
    "pdf": "PDF",
    "image": "Image: PNG, JPEG, TIFF",
    "zip": "Folder (zip) of any of these",
    "labelstudio": "Label Studio: JSON export",
    "dataset": "Hugging Face Datasets: Arrow or Parquet",
}

#: the name of what was pasted; its documents are named by their text
PASTED: Final = "pasted text"

#: kinds whose columns are mapped to what a row holds
MAPPED: Final = ("csv", "dataset")


class ReadError(ValueError):
    """Why a whole file cannot be read, as a sentence."""


@dataclass(frozen=True)
class Context:
    """What a reader may need besides its file.

    ``folder`` is a place for files of its own (page images), ``options`` what the person chose, ``stopped`` says
    whether the import was cancelled.
    """

    compiled: CompiledSchema
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False
