"""Zips and datasets: every file by its own kind, and hostile ones cost only themselves."""

import json
import struct
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labeling.reading import ReadError, archive, arrow
from labeling.rows import judge
from tests.labeling.import_files import packed, pdf, read, schema, stored


def test_every_file_of_a_zip_is_read_by_its_kind(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "in/a.txt": "plain words",
        "in/rows.jsonl": '{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}\n',
        "in/table.csv": "id,text\n3,three\n",
        "in/wrong.txt": pdf([["From a PDF"]]),
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
    ]
    assert rows[-1].data["text"] == "From a PDF"


def test_hostile_entries_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
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
    assert "leads out of the folder" in rows["../../etc/passwd"].error
    assert "leads out of the folder" in rows["/abs.txt"].error
    assert "leads out of the folder" in rows["C:\\win.txt"].error
    assert "a zip inside a zip is not opened" in rows["inner.zip"].error
    assert "grows to more than" in rows["bomb.txt"].error
    assert "empty" in rows["empty.txt"].error
    assert "not read" in rows["bin.dat"].error
    assert "links are not followed" in rows["link.txt"].error
    assert rows["good.txt"].data["text"] == "good"
    assert not (tmp_path / "etc").exists()


def test_a_zip_that_lies_about_sizes_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 1_000_000)
    files: dict[str, bytes | str] = {f"{number}.txt": f"{number} " + "x" * 400_000 for number in range(5)}
    rows = read(stored(tmp_path, "f.zip", packed(files)))
    assert [bool(row.error) for row in rows] == [False, False, True, True, True]


def test_a_broken_file_in_a_zip_costs_only_itself(tmp_path: Path) -> None:
    data = bytearray(packed({"a.txt": "first words " * 50, "b.txt": "second words " * 50}))
    at = data.index(b"a.txt") + len(b"a.txt") + 8
    data[at] ^= 0xFF
    broken, good = read(stored(tmp_path, "f.zip", bytes(data)))
    assert (broken.file, "damaged" in broken.error) == ("a.txt", True)
    assert good.data["text"].startswith("second")


def test_an_encrypted_entry_is_named(tmp_path: Path) -> None:
    data = bytearray(packed({"a.txt": "secret", "b.txt": "open"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(mark) + at
        data[place : place + 2] = struct.pack("<H", struct.unpack("<H", data[place : place + 2])[0] | 1)
    secret, plain = read(stored(tmp_path, "f.zip", bytes(data)))
    assert "encrypted" in secret.error
    assert plain.data["text"] == "open"


def test_a_table_without_text_in_a_zip_costs_only_itself(tmp_path: Path) -> None:
    path = stored(tmp_path, "f.zip", packed({"a.csv": "a,b\n1,2\n", "b.txt": "fine"}))
    bad, good = read(path)
    assert "which column is the document's text" in bad.error
    assert good.data["text"] == "fine"


def test_two_files_of_one_name_are_told(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            zipped.writestr("a.txt", "two")
    first, second = read(path)
    assert first.data["text"] == "one"
    assert "twice" in second.error


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


def test_a_saved_dataset_is_read_with_the_names_of_its_classes(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "ds/dataset_info.json": "{}",
        "ds/state.json": '{"_data_files": []}',
        "ds/data-00000-of-00001.arrow": as_stream(table()),
    }
    rows = read(stored(tmp_path, "ds.zip", packed(files)), compiled=schema("ticket-routing"))
    assert [row.data.get("gold") for row in rows] == [{"queue": "billing"}, {"queue": "sales"}, None]
    assert [row.file for row in rows] == ["ds/data-00000-of-00001.arrow"] * 3
    assert judge(rows[0], schema("ticket-routing")).text == "hello"


def test_parquet_and_arrow_files_are_read(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "a.parquet")
    stored(tmp_path, "a.arrow", as_stream(table()))
    for name in ("a.parquet", "a.arrow"):
        rows = read(tmp_path / name, compiled=schema("ticket-routing"))
        assert [row.data["text"] for row in rows] == ["hello", "good morning", None], name
    shown = arrow.preview(tmp_path / "a.parquet")
    assert (shown.names, shown.rows[0]) == (["text", "label"], ["hello", "billing"])


def test_gold_in_a_struct_keeps_its_numbers(tmp_path: Path) -> None:
    gold = [{"invoice_id": "A", "date": "2026-01-14", "vendor": "V", "total_amount": 1248.5, "due_date": None}]
    pq.write_table(pa.table({"id": ["a"], "text": ["t"], "gold": gold}), tmp_path / "g.parquet")
    (row,) = read(tmp_path / "g.parquet")
    judged = judge(row, schema())
    assert str(judged.gold["total_amount"]) == "1248.5"


@pytest.mark.parametrize("data", [b"PAR1" + b"\0" * 50, as_stream(table())[:120], b"ARROW1\0\0" + b"x" * 90])
def test_a_damaged_dataset_is_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ReadError, match="no Arrow or Parquet file"):
        read(stored(tmp_path, "a.arrow", data), "dataset")


def test_cells_that_hold_bytes_or_no_number_cost_their_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "x": [float("nan"), 1.0]}), tmp_path / "n.parquet")
    bad, good = read(tmp_path / "n.parquet")
    assert "not a number" in bad.error
    assert good.data["x"] == 1
