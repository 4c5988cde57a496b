"""Zips and datasets: every file by its own kind, and hostile ones cost only themselves."""

import contextlib
import json
import os
import random
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labeling.imports.formats import arrow, base, zip_folder
from labeling.imports.formats.registry import FORMATS, detect
from labeling.imports.rows import ParsedRow, ReadError, validate_row
from tests.labeling.import_files import packed, pdf, read, schema, stored


def test_zip_files_are_read_by_format(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "in/a.txt": "plain words",
        "in/rows.jsonl": '{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n',
        "in/table.csv": "id,text\n3,three\n",
        "in/wrong.txt": pdf([["Named as text"]]),
        "in/z.pdf": pdf([["From a PDF"]]),
        "__MACOSX/in/._a.txt": b"\0\0",
        ".DS_Store": b"\0",
    }
    rows = read(stored(tmp_path, "f.zip", packed(files)))
    assert [(row.file, row.data["id"]) for row in rows] == [
        ("in/a.txt", "in/a.txt"),
        ("in/rows.jsonl", 1),
        ("in/rows.jsonl", 2),
        ("in/table.csv", "3"),
        ("in/wrong.txt", "in/wrong.txt"),
        ("in/z.pdf", "in/z.pdf"),
    ]
    assert [bool(row.error) for row in rows] == [False, False, False, False, True, False]
    assert rows[-1].data["text"] == "From a PDF"


def test_hostile_entries_are_rejected(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "../../etc/passwd": "x",
        "/abs.txt": "x",
        "C:\\win.txt": "x",
        "inner.zip": packed({"a.txt": "x"}),
        "bomb.txt": b"0" * 40_000_000,
        "empty.txt": b"",
        "bin.dat": b"\0\1\2",
        "good.txt": "good",
    }
    path = stored(tmp_path, "f.zip", packed(files, links={"link.txt": "/etc/passwd"}))
    rows = {row.file: row for row in read(path)}
    assert "leads outside the folder" in rows["../../etc/passwd"].error
    assert "leads outside the folder" in rows["/abs.txt"].error
    assert "leads outside the folder" in rows["C:\\win.txt"].error
    assert "a zip inside a zip" in rows["inner.zip"].error
    assert "unpacks to more than" in rows["bomb.txt"].error
    assert "empty" in rows["empty.txt"].error
    assert "not supported" in rows["bin.dat"].error
    assert "links are not followed" in rows["link.txt"].error
    assert rows["good.txt"].data["text"] == "good"
    assert not (tmp_path / "etc").exists()


def test_wrong_zip_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_folder, "MAX_BYTES", 1_000_000)
    files: dict[str, bytes | str] = {f"{number}.txt": f"{number} " + "x" * 400_000 for number in range(5)}
    rows = read(stored(tmp_path, "f.zip", packed(files)))
    assert [bool(row.error) for row in rows] == [False, False, True, True, True]


def test_rejected_bombs_count_toward_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_folder, "MAX_BYTES", 40_000_000)
    files: dict[str, bytes | str] = {f"{number}.txt": b"0" * 30_000_000 for number in range(4)}
    rows = read(stored(tmp_path, "f.zip", packed({**files, "late.txt": "words"})))
    assert ["it unpacks to more than 16 MB" in row.error for row in rows] == [True] * 2 + [False] * 3
    assert ["the zip unpacks to more than 38 MB" in row.error for row in rows[2:]] == [True] * 3


def test_broken_encrypted_or_duplicate_file_in_zip_is_rejected(tmp_path: Path) -> None:
    data = bytearray(packed({"a.txt": "first words " * 50, "b.txt": "second words " * 50}))
    at = data.index(b"a.txt") + len(b"a.txt") + 8
    data[at] ^= 0xFF
    broken, good = read(stored(tmp_path, "broken.zip", bytes(data)))
    assert (broken.file, "damaged" in broken.error) == ("a.txt", True)
    assert good.data["text"].startswith("second")

    data = bytearray(packed({"a.txt": "secret", "b.txt": "open"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(mark) + at
        data[place : place + 2] = struct.pack("<H", struct.unpack("<H", data[place : place + 2])[0] | 1)
    secret, plain = read(stored(tmp_path, "encrypted.zip", bytes(data)))
    assert ("encrypted" in secret.error, plain.data["text"]) == (True, "open")

    with zipfile.ZipFile(tmp_path / "f.zip", "w") as zipped:
        zipped.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            zipped.writestr("a.txt", "two")
        zipped.writestr("b.csv", "a,b\n1,2\n")
    first, second, table = read(tmp_path / "f.zip")
    assert first.data["text"] == "one"
    assert "two files" in second.error
    assert "the column that contains the document text" in table.error


def test_reader_crash_rejects_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaking(*_: Any) -> Iterator[ParsedRow]:
        yield ParsedRow(2, {"text": "before"})
        raise RecursionError("too deep")

    monkeypatch.setitem(FORMATS, "csv", replace(FORMATS["csv"], rows=breaking))
    before, broken, good = read(stored(tmp_path, "f.zip", packed({"a.csv": "text\nx\n", "b.txt": "fine"})))
    assert (before.data["text"], good.data["text"]) == ("before", "fine")
    assert (broken.file, broken.error) == ("a.csv", "it cannot be read (RecursionError)")


def test_zip_file_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path, "f.zip", packed({f"{number}.txt": "x" for number in range(300)}))
    monkeypatch.setattr(base, "MAX_FILES", 299)
    with pytest.raises(ReadError, match="too many files"):
        detect(path, "f.zip")
    monkeypatch.setattr(base, "MAX_DIRECTORY_BYTES", 10_000)
    monkeypatch.setattr(
        "labeling.imports.formats.base.zipfile.ZipFile", None
    )  # the list of files must not be read into memory
    with pytest.raises(ReadError, match=r"f\.zip is a zip with too many files"):
        detect(path, "f.zip")


# -- datasets ----------------------------------------------------------------------------------------------------------


def table() -> pa.Table:
    features = {"label": {"names": ["billing", "sales"], "_type": "ClassLabel"}, "text": {"_type": "Value"}}
    noted = json.dumps({"info": {"features": features}})
    schema_ = pa.schema([("text", pa.string()), ("label", pa.int64())], metadata={"huggingface": noted})
    return pa.table({"text": ["hello", "good morning", None], "label": [0, 1, None]}, schema=schema_)


def as_stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def test_saved_dataset_has_class_names(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "ds/dataset_info.json": "{}",
        "ds/state.json": '{"_data_files": []}',
        "ds/data-00000-of-00001.arrow": as_stream(table()),
    }
    rows = read(stored(tmp_path, "ds.zip", packed(files)), compiled=schema("ticket-routing"))
    assert [row.data.get("gold") for row in rows] == [{"queue": "billing"}, {"queue": "sales"}, None]
    assert [row.file for row in rows] == ["ds/data-00000-of-00001.arrow"] * 3
    assert validate_row(rows[0], schema("ticket-routing")).text == "hello"


def test_parquet_and_arrow_files_are_read(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    stored(tmp_path, "a.arrow", as_stream(table()))
    for name in ("a.parquet", "a.arrow"):
        rows = read(tmp_path / name, compiled=schema("ticket-routing"))
        assert [row.data["text"] for row in rows] == ["hello", "good morning", None], name
    shown = arrow.sample(tmp_path / "a.parquet").preview
    assert (shown.names, shown.rows[0]) == (["text", "label"], ["hello", "billing"])


def test_gold_in_a_struct_keeps_its_numbers_and_nan_rejects_the_row(tmp_path: Path) -> None:
    gold = [{"invoice_id": "A", "date": "2026-01-14", "vendor": "V", "total_amount": 1248.5, "due_date": None}]
    table = pa.table({"id": ["a", "b"], "text": ["t", "u"], "gold": [*gold, None], "x": [1.0, float("nan")]})
    pq.write_table(table, tmp_path / "g.parquet")
    good, bad = read(tmp_path / "g.parquet")
    assert str(validate_row(good, schema()).gold["total_amount"]) == "1248.5"
    assert good.data["x"] == 1
    assert "not a number" in bad.error


def test_damaged_dataset_is_rejected(tmp_path: Path) -> None:
    for data in (b"PAR1" + b"\0" * 50, as_stream(table())[:120], b"ARROW1\0\0" + b"x" * 90):
        with pytest.raises(ReadError, match="not a valid Arrow or Parquet file"):
            read(stored(tmp_path, "a.arrow", data), "dataset")


def test_unreadable_cells_reject_the_row(tmp_path: Path) -> None:
    broken = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffb"))
    far = pa.array([2, 10**13], pa.timestamp("s"))
    table = pa.table({"text": ["one", "two"], "note": broken, "at": far})
    for path in (tmp_path / "t.arrow", tmp_path / "t.parquet"):
        if path.suffix == ".arrow":
            with pa.ipc.new_stream(str(path), table.schema) as writer:
                writer.write_table(table)
        else:
            pq.write_table(table, path)
        first, second = read(path)
        assert "Invalid UTF8" in first.error
        assert "cannot be read" in second.error
        assert ["Invalid UTF8" in cell for cell in arrow.sample(path).preview.rows[0]] == [True]


def test_dataset_with_invalid_offsets_is_rejected(tmp_path: Path) -> None:
    """Arrow believes its files: without a look at them first, this one ends the process that reads it."""
    path = tmp_path / "t.arrow"
    table = pa.table({"text": ["aa", "b"]})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    whole = path.read_bytes()
    offsets = struct.pack("<3i", 0, 2, 3)
    assert whole.count(offsets) == 1
    path.write_bytes(whole.replace(offsets, struct.pack("<3i", 0, 2**31 - 1, 3)))
    assert ["out of bounds" in row.error or "non-monotonic" in row.error for row in read(path)] == [True, True]
    path.write_bytes(whole.replace(offsets, struct.pack("<3i", 0, 2, 2**31 - 1)))
    with pytest.raises(ReadError, match="The file is damaged"):
        read(path)


def test_flipped_bytes_do_not_crash_the_import(tmp_path: Path) -> None:
    path = tmp_path / "t.arrow"
    table = pa.table({"text": ["aa", "b"], "tags": [["x"], ["y", "z"]]})
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    whole = path.read_bytes()
    for seed in range(200):
        draw = random.Random(seed)
        data = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(ReadError):
            assert len(list(arrow.lines(path))) <= 3


def bomb(path: Path, cell: int, rows: int = 64) -> Path:
    """A small file with one long cell that every row repeats."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * cell]))
    table = pa.table({"text": column})
    if path.suffix == ".parquet":
        pq.write_table(table, path, compression="zstd", store_schema=False)  # read as plain texts
    else:
        with pa.ipc.new_stream(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
    assert path.stat().st_size < 20_000
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bomb.parquet", "bomb.arrow"])
def test_decompression_uses_child_memory(tmp_path: Path, name: str) -> None:
    path = bomb(tmp_path / name, 4_000_001, 10)
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(pool)
    try:
        assert [row.error for row in read(path, "dataset")] == ["the row is longer than 4 MB"] * 10
        assert [len(cells[0]) for cells in arrow.sample(path).preview.rows] == [2_000] * 8
        assert pool.max_memory() in (None, 0)
    finally:
        pa.set_memory_pool(before)


@pytest.mark.slow
def test_memory_limit_rejects_the_file(tmp_path: Path) -> None:
    column = read(bomb(tmp_path / "bomb.arrow", 300_000_000, 2))
    assert [row.error for row in column] == ["reading it takes too much memory"] * 2


def test_silent_file_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "never.parquet")
    monkeypatch.setattr(arrow, "TIMEOUT_SECONDS", 0.0)
    with pytest.raises(ReadError, match="could be read within"):
        arrow.sample(tmp_path / "never.parquet")
