"""The page that asks for the columns of a dataset: its sample is read once, by a child process with limits."""

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labeling.imports.reviews import ImportPreview
from tests.labeling.desk import Desk, make_desk
from tests.labeling.import_files import packed
from tests.labeling.import_pages import PAGE, file, upload_token
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk() -> Desk:
    return make_desk("samples", template="ticket-routing")


def dataset(folder: Path, rows: int = 150) -> bytes:
    """A zipped dataset as Datasets saves it."""
    table = pa.table({"text": [f"ticket {n}" for n in range(rows)], "category": ["billing"] * rows})
    path = folder / "data.arrow"
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    return packed({"data/state.json": "{}", "data/data-00000-of-00001.arrow": path.read_bytes()})


def columns_page(desk: Desk, content: bytes) -> str:
    """The address of the page."""
    answer = desk.as_("engineer").post(desk.url(PAGE), {"file": file("set.zip", content), "kind": "dataset"})
    assert answer.status_code == 302
    return str(answer["Location"])


class Children:
    """Counts the child processes of the reader, and lets nothing be unpacked here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = 0
        start = subprocess.Popen

        def counting(*arguments: Any, **keywords: Any) -> Any:
            self.started += "labeling.imports.formats.arrow" in arguments[0]
            return start(*arguments, **keywords)

        def forbidden(*arguments: Any, **keywords: Any) -> None:
            raise AssertionError("unpacked in the web process")

        monkeypatch.setattr("labeling.imports.formats.line_child.subprocess.Popen", counting)
        monkeypatch.setattr("labeling.imports.formats.zip_folder._unpack", forbidden)


def test_dataset_sample_is_cached(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children(monkeypatch)
    address = columns_page(desk, dataset(tmp_path))
    for _ in range(3):
        answer = desk.as_("engineer").get(address)
        assert answer.status_code == 200
        assert [len(row) for row in answer.context["rows"]] == [2] * 8
        assert answer.context["preview"] == ImportPreview(100, 100, [])
    assert children.started == 1


def test_bomb_is_stopped_by_ratio(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children(monkeypatch)
    address = columns_page(desk, packed({"data/data.arrow": b"\0" * 40_000_000}))
    for _ in range(3):
        answer = desk.as_("engineer").get(address)
        assert answer.status_code == 200
        assert "unpacks to more than 16 MB" in answer.context["error"]
    assert children.started == 1
    assert desk.as_("engineer").post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address)}).status_code == 422
