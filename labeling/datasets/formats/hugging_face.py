"""A zipped Hugging Face Datasets folder for ``datasets.load_from_disk``, with a folder per split.

Columns: id, text, gold (as JSON, which keeps all digits), tags, origin. Files in the Arrow stream format and the JSON
files of ``DatasetDict.save_to_disk`` (datasets 5.2).
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import IO, Any, cast

from labeling.datasets.formats.base import ExportContext, ExportRow, Format
from slmstudio.contract.schema.compiled import dumps

BATCH = 1_000
TOP, TRAIN = "dataset", "train"
_DATA = "data-00000-of-00001.arrow"
_TEXT = {"dtype": "string", "_type": "Value"}
FEATURES: dict[str, Any] = {
    "id": _TEXT,
    "text": _TEXT,
    "gold": _TEXT,
    "tags": {"feature": _TEXT, "_type": "List"},
    "origin": _TEXT,
}


class _Pipe(io.RawIOBase):
    """A write-only file whose content is taken in parts."""

    def __init__(self) -> None:
        self.held = bytearray()

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: Any) -> int:
        """Appends to the content."""
        self.held += data
        return len(data)

    def empty(self) -> bytes:
        """Returns and clears the content."""
        data = bytes(self.held)
        self.held.clear()
        return data


def folder(examples: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
    """The zip. Examples are sorted by split; those without one are ``train``, as in Datasets."""
    pipe = _Pipe()
    names: list[str] = []
    with zipfile.ZipFile(cast(IO[bytes], pipe), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for split, group in groupby(examples, key=lambda row: row.split or TRAIN):
            names.append(split)
            yield from _part(archive, pipe, split, group, about)
        if not names:
            names.append(TRAIN)
            yield from _part(archive, pipe, TRAIN, (), about)
        archive.writestr(f"{TOP}/dataset_dict.json", json.dumps({"splits": names}))
    yield pipe.empty()


def _part(
    archive: zipfile.ZipFile, pipe: _Pipe, split: str, examples: Iterable[ExportRow], about: ExportContext
) -> Iterator[bytes]:
    # A local import: loading Arrow takes 0.2 seconds, and few processes export.
    import pyarrow as pa

    text = pa.string()
    schema = pa.schema(
        [("id", text), ("text", text), ("gold", text), ("tags", pa.list_(text)), ("origin", text)],
        metadata={"huggingface": json.dumps({"info": {"features": FEATURES}})},
    )
    # The cache key of datasets, so other rows need another one.
    fingerprint = hashlib.blake2b(about.instruction.encode(), digest_size=8)
    rest = iter(examples)
    folder_name = f"{TOP}/{split}"
    # By name: a ZipInfo would be compressed at the default level, which takes ten times as long.
    with (
        archive.open(f"{folder_name}/{_DATA}", "w", force_zip64=True) as file,
        pa.ipc.new_stream(file, schema) as writer,
    ):
        while batch := list(islice(rest, BATCH)):
            columns: list[list[Any]] = [
                [row.id for row in batch],
                [row.text for row in batch],
                [None if row.gold is None else dumps(row.gold) for row in batch],
                [row.tags for row in batch],
                [row.origin or None for row in batch],
            ]
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            for buffer in (buffer for array in arrays for buffer in array.buffers() if buffer is not None):
                fingerprint.update(buffer)
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            yield pipe.empty()
    state = _state(split, fingerprint.hexdigest())
    archive.writestr(f"{folder_name}/dataset_info.json", json.dumps(_info(about)))
    archive.writestr(f"{folder_name}/state.json", json.dumps(state))
    yield pipe.empty()


def _info(about: ExportContext) -> dict[str, Any]:
    description = f"{about.title}. {about.instruction}"
    return {"citation": "", "description": description, "features": FEATURES, "homepage": "", "license": ""}


def _state(split: str, fingerprint: str) -> dict[str, Any]:
    return {
        "_data_files": [{"filename": _DATA}],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }


FORMAT = Format(
    name="hf",
    title="Hugging Face Datasets",
    description="a zipped folder for load_from_disk",
    extension="zip",
    content_type="application/zip",
    write=folder,
)
