"""The columns of a table: guessed and chosen roles, the preview, and expired uploads.

The sample of a dataset is read once, by a child process with limits.
"""

import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from labeling.imports import uploads
from labeling.imports.reviews import ImportPreview
from labeling.jobs import run_import
from labeling.models import (
    Document,
    Gold,
    ImportRun,
)
from tests.labeling.desk import Desk, make_desk
from tests.labeling.import_files import packed
from tests.labeling.import_pages import HTMX, PAGE, columns_url, file, upload_token


def test_table_asks_for_columns(db: None) -> None:
    desk = make_desk("routing", template="ticket-routing")
    address = columns_url(desk)
    client = desk.as_("engineer")
    answer = client.get(address)
    page = answer.content.decode()
    assert not ImportRun.objects.exists()
    assert [(column["name"], column["role"]) for column in answer.context["columns"]] == [
        ("text", "text"),
        ("category", "gold:queue"),
    ]
    assert "2 of the first 3 rows are valid" in page
    assert "unknown" in page

    sent = client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address), "c0": "text", "c1": "gold:queue"})
    run = ImportRun.objects.get()
    assert sent["Location"] == desk.url(f"{PAGE}{run.pk}/")
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.kind, run.imported, run.rejected, run.as_holdout) == ("csv", 2, 1, True)
    assert {gold.revision.value["queue"] for gold in Gold.objects.all()} == {"billing", "sales"}


def test_a_column_of_labels_without_a_role_is_warned_of(desk: Desk) -> None:
    address = columns_url(desk, data=b"text,label,source\nmy card is lost,billing,mail\n")
    client = desk.as_("engineer")
    assert client.get(address).context["preview"].label_names == ["label"]
    assert client.get(f"{address}&c1=gold:vendor").context["preview"].label_names == []


def test_other_columns_and_options_can_be_chosen(desk: Desk) -> None:
    client = desk.as_("engineer")
    options = columns_url(desk, data=b"a|b,c\nd|e,f\n")
    answer = client.get(f"{options}&delimiter=|&header=no")
    assert [column["name"] for column in answer.context["columns"]] == ["column 1", "column 2"]
    assert answer.context["rows"] == [["a", "b,c"], ["d", "e,f"]]
    address = columns_url(desk)
    invalid = client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address), "c0": "beside", "c1": "beside"})
    assert invalid.status_code == 422
    assert "Choose the column that contains the document text." in invalid.content.decode()
    assert not ImportRun.objects.exists()
    fragment = client.get(f"{address}&c1=beside", headers=HTMX).content.decode()
    assert "<html" not in fragment
    assert "The first 3 rows are valid" in fragment
    client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address), "c1": "id"})
    run_import(ImportRun.objects.get().pk)
    assert set(Document.objects.values_list("external_id", flat=True)) == {"billing", "sales", "unknown"}


def test_upload_token_is_signed_per_project(desk: Desk) -> None:
    address = columns_url(desk)
    other = make_desk("other")
    for where, text in ((other, upload_token(address)), (desk, "made-up"), (desk, "")):
        answer = where.as_("engineer").get(where.url(f"{PAGE}columns/"), {"u": text}, follow=True)
        assert "Upload it again" in answer.content.decode()


def test_expired_upload_is_deleted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    address = columns_url(desk)
    assert uploads.delete_expired() == 0
    monkeypatch.setattr(uploads, "RETENTION", -uploads.RETENTION)
    assert uploads.delete_expired() >= 1
    monkeypatch.undo()
    assert "Upload it again" in desk.as_("engineer").get(address, follow=True).content.decode()


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


def test_dataset_sample_is_cached(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, children = make_desk("samples", template="ticket-routing"), Children(monkeypatch)
    address = columns_page(desk, dataset(tmp_path))
    for _ in range(3):
        answer = desk.as_("engineer").get(address)
        assert answer.status_code == 200
        assert [len(row) for row in answer.context["rows"]] == [2] * 8
        assert answer.context["preview"] == ImportPreview(100, 100, [])
    assert children.started == 1


def test_bomb_is_stopped_by_ratio(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    desk, children = make_desk("samples", template="ticket-routing"), Children(monkeypatch)
    address = columns_page(desk, packed({"data/data.arrow": b"\0" * 40_000_000}))
    for _ in range(3):
        answer = desk.as_("engineer").get(address)
        assert answer.status_code == 200
        assert "unpacks to more than 16 MB" in answer.context["error"]
    assert children.started == 1
    assert desk.as_("engineer").post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address)}).status_code == 422
