"""Tables: CSV and TSV as people have them, columns guessed and mapped, broken rows that cost only themselves."""

from decimal import Decimal
from pathlib import Path

import pytest

from labeling.imports.formats import column_mapping
from labeling.imports.formats.csv_table import preview
from labeling.imports.rows import ReadError, RowError, validate_row
from tests.labeling.import_files import read, schema, stored

HEAD = "text,invoice_id,date,vendor,total_amount\n"
ROW = '"Invoice A-1029, Acme",A-1029,"Jan 14, 2026",Acme Supplies,"1,248.50"\n'


def test_gold_of_table_cells(tmp_path: Path) -> None:
    row, unlabeled = read(stored(tmp_path, "t.csv", HEAD + ROW + "some text,,,,\n"))
    assert row.number == 2
    assert row.data["gold"] == {
        "invoice_id": "A-1029",
        "date": "2026-01-14",
        "vendor": "Acme Supplies",
        "total_amount": Decimal("1248.50"),
    }
    assert validate_row(row, schema()).gold["total_amount"] == Decimal("1248.50")
    assert "gold" not in unlabeled.data
    assert validate_row(unlabeled, schema()).gold is None


def test_class_column_maps_to_the_only_choice() -> None:
    routing = schema("ticket-routing")
    assert column_mapping.guess_roles(["text", "category"], routing) == {"text": "text", "category": "gold:queue"}
    assert column_mapping.guess_roles(["Body", "id", "queue", "lang"], routing) == {
        "Body": "text",
        "id": "id",
        "queue": "gold:queue",
        "lang": "beside",
    }


def test_invalid_choice_names_row_column_and_field(tmp_path: Path) -> None:
    path = stored(tmp_path, "t.csv", "text,category\nhello,billing\nhi,card_arrival\n")
    good, bad = read(path, compiled=schema("ticket-routing"))
    assert good.data["gold"] == {"queue": "billing"}
    assert bad.number == 3
    assert (
        bad.error == "the column category contains “card_arrival”, which is not one of the choices of the field queue"
    )


def test_delimiter_and_encoding_detection(tmp_path: Path) -> None:
    for delimiter in (",", ";", "\t", "|"):
        text = "id,text\n1,hello there\n2,good morning\n".replace(",", delimiter)
        rows = read(stored(tmp_path, "t.csv", text))
        assert [row.data for row in rows] == [{"id": "1", "text": "hello there"}, {"id": "2", "text": "good morning"}]
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"):
        path = stored(tmp_path, "t.csv", "text,id\nGrüße,ä\n".encode(encoding))
        assert [row.data for row in read(path)] == [{"text": "Grüße", "id": "ä"}], encoding


def test_undecodable_line_is_rejected(tmp_path: Path) -> None:
    path = stored(tmp_path, "t.csv", "text,id\nGr\xfc\xdfe,1\n".encode("cp1252") + "Grüße,2\n".encode())
    bad, good = read(path)
    assert (bad.number, good.data["text"]) == (2, "Grüße")
    assert "not valid UTF-8: byte 3 cannot be read" in bad.error
    assert [row.data["text"] for row in read(path, encoding="cp1252")] == ["Grüße", "GrÃ¼ÃŸe"]
    undefined = stored(tmp_path, "u.csv", b"text,id\nGr\xfc\xdfe,1\na\x81\xfcb,2\n")
    fine, bad = read(undefined)
    assert (fine.data["text"], bad.number) == ("Grüße", 3)
    assert "not valid Windows-1252" in bad.error


def test_windows_table(tmp_path: Path) -> None:
    text = "text;id\r\nStraße 5, 10 €;1\r\n„Müller“ – Café;2\r\n" + "plain;3\r\n" * 5_000
    rows = read(stored(tmp_path, "t.csv", text.encode("cp1252")))
    assert [row.data["text"] for row in rows[:3]] == ["Straße 5, 10 €", "„Müller“ – Café", "plain"]
    assert not any(row.error for row in rows)


@pytest.mark.parametrize("half", [b"\x00\xd8", b"\x00\xdc"])
def test_broken_utf16_rejects_its_line(tmp_path: Path, half: bytes) -> None:
    def wide(text: str) -> bytes:
        return text.encode("utf-16-le")

    path = stored(tmp_path, "t.csv", b"\xff\xfe" + wide("text,id\nbro") + half + wide("ken,1\nfine \U0001f600,2\n"))
    bad, good = read(path)
    assert (bad.number, bad.error) == (2, "the line is not valid UTF-16: it contains an incomplete character")
    assert good.data == {"text": "fine \U0001f600", "id": "2"}
    first, cut = read(stored(tmp_path, "u.csv", "text,id\na,1\nb,2".encode("utf-16")[:-1]))
    assert (first.data["id"], "an incomplete character" in cut.error) == ("1", True)


def test_unclosed_quote_rejects_one_row(tmp_path: Path) -> None:
    rest = "".join(f"row {number},{number}\n" for number in range(500))
    rows = read(stored(tmp_path, "t.csv", f'text,id\n"open,0\n{rest}'))
    assert rows[0].error == "a quotation mark that opens on line 2 is never closed"
    assert [row.data["id"] for row in rows[1:]] == [str(number) for number in range(500)]


def test_broken_rows_have_reasons(tmp_path: Path) -> None:
    text = 'text,id\n"a"b,1\nc,2,3\nd\nfine,4\n\n"two\nlines",5\n'
    rows = read(stored(tmp_path, "t.csv", text))
    assert [row.number for row in rows] == [2, 3, 4, 5, 7]
    assert "follows the quotation mark" in rows[0].error
    assert rows[1].error == "the number of cells (3) differs from the number of columns (2)"
    assert rows[2].error == "the number of cells (1) differs from the number of columns (2)"
    assert rows[4].data == {"text": "two\nlines", "id": "5"}


def test_overlong_line_is_skipped_and_nul_bytes_are_rejected(tmp_path: Path) -> None:
    long, nul, fine = read(stored(tmp_path, "t.csv", b"text,id\n" + b"x" * 12_000_000 + b",1\na\0b,2\nfine,3\n"))
    assert long.error == "the line is longer than 4 MB"
    with pytest.raises(RowError, match="NUL"):
        validate_row(nul, schema())
    assert fine.data["id"] == "3"
    with pytest.raises(ReadError, match=r"Choose the column .* The columns are: a, b"):
        read(stored(tmp_path, "t.csv", "a,b\n1,2\n"))


def test_duplicate_and_empty_column_names(tmp_path: Path) -> None:
    shown = preview(stored(tmp_path, "t.csv", "text,text,\na,b,c\n"), {})
    assert shown.names == ["text", "text (2)", "column 3"]
    assert shown.rows == [["a", "b", "c"]]


def test_invalid_mapping_has_a_reason() -> None:
    for mapping, message in (
        ({"a": "beside"}, "Choose the column"),
        ({"a": "text", "b": "text"}, "a and b have the same role (Document text)"),
        ({"a": "text", "b": "gold:nothing"}, "the schema has no such field"),
        ({"a": "text", "b": "gold", "c": "gold:vendor"}, "no other column can be a field"),
        ({"z": "text"}, "Unknown column z"),
    ):
        assert message in column_mapping.mapping_error(mapping, ["a", "b", "c"], schema())


def test_gold_in_one_column(tmp_path: Path) -> None:
    gold = '{""invoice_id"":""A"",""date"":""2026-01-14"",""vendor"":""V"",""total_amount"":1.50}'
    rows = read(stored(tmp_path, "t.csv", f'text,gold\nt,"{gold}"\nu,\nv,"{{"\n'))
    assert str(rows[0].data["gold"]["total_amount"]) == "1.50"
    assert rows[1].data["gold"] is None
    assert "the column gold is not JSON" in rows[2].error


def test_banking_dataset_is_mapped_automatically(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "banking77" / "train.csv"
    if not path.exists():
        pytest.skip(f"no table at {path}")
    import json

    from slmstudio.contract.schema.compiled import compile_schema

    labels = json.loads((path.parent / "categories.json").read_text())
    compiled = compile_schema(
        {"type": "object", "required": ["intent"], "properties": {"intent": {"type": "string", "enum": labels}}}
    )
    copy = stored(tmp_path, "train.csv", path.read_bytes())
    rows = read(copy, compiled=compiled)
    assert len(rows) > 10_000
    assert all(validate_row(row, compiled).gold["intent"] in labels for row in rows)


def test_other_dates_of_the_row_show_what_an_ambiguous_date_means(tmp_path: Path) -> None:
    head = "text,invoice_id,date,due_date,vendor,total_amount\n"
    cells = [("Invoice A-1029 of 27/03/2026, due 03/04/2026", ""), ("Invoice A-1", "04/27/2026"),
             ("Invoice A-2", "05/06/2026")]  # fmt: skip
    rows = "".join(f'"{text}",A-1029,03/04/2026,{due},Acme,1\n' for text, due in cells)
    before, after, ambiguous = read(stored(tmp_path, "t.csv", head + rows))
    assert [row.data["gold"]["date"] for row in (before, after)] == ["2026-04-03", "2026-03-04"]
    assert "the column date: 03/04/2026 is ambiguous" in ambiguous.error
