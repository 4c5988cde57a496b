"""The registry of import formats: a format in it is detected, read and configured without further code."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.imports.formats import registry
from labeling.imports.formats.base import Format, Source
from labeling.imports.formats.registry import FORMATS, OPTIONS, describe_options, detect, options_error
from labeling.imports.forms import ColumnsForm, ImportForm
from labeling.imports.rows import ParsedRow
from tests.labeling.import_files import packed, read, stored


def _rows(source: Source) -> Iterator[ParsedRow]:
    yield ParsedRow(1, {"id": source.name, "text": source.path.read_text().upper()})


def test_a_registered_format_is_detected_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loud = Format("loud", "Loud: text in capitals", _rows, extensions=(".loud",), trusts_extension=True)
    monkeypatch.setitem(registry.FORMATS, "loud", loud)
    assert detect(stored(tmp_path, "a.loud", "hello"), "a.loud") is loud
    (row,) = read(tmp_path / "a.loud")
    assert row.data["text"] == "HELLO"
    (row,) = read(stored(tmp_path, "f.zip", packed({"b.loud": "hello"})))
    assert (row.file, row.data["text"]) == ("b.loud", "HELLO")
    assert "Loud" in ImportForm().format_names


def test_every_option_has_a_form_field_and_is_documented() -> None:
    fields = {*ImportForm().fields}
    for file_format in FORMATS.values():
        if file_format.is_table or file_format.is_reviewed:
            fields |= {*ColumnsForm({}, formats=[file_format]).fields}
    assert {*OPTIONS} <= fields
    assert all(name in describe_options() for name in OPTIONS)


def test_options_are_checked() -> None:
    cases: list[tuple[dict[str, object], str, bool]] = [
        ({"delimiter": ";", "header": False}, "csv", True),
        ({"delimiter": "#"}, "csv", False),
        ({"header": 1}, "csv", False),
        ({"nothing": "x"}, "csv", False),
        ({"ocr": "never"}, "zip", True),
        ({"columns": {"a": "text"}}, "dataset", True),
        ({"columns": {"a": "text"}}, "text", False),
        ({"columns": "a"}, "csv", False),
    ]
    for options, name, valid in cases:
        assert (options_error(options, name) == "") is valid, options
    form = ColumnsForm({"delimiter": ";", "encoding": "", "header": "no"}, formats=[FORMATS["csv"]])
    assert form.chosen() == {"delimiter": ";", "header": False}
