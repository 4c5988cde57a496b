"""The import page: files, folders and pasted text, by role."""

import json
from typing import Any

import pytest
from django.test import Client

from labeling.imports import upload_handlers, uploads
from labeling.jobs import run_import, run_indexing
from labeling.models import (
    Document,
    DocumentSearch,
    ImportRun,
    IndexRun,
)
from slmstudio.runs.models import Status
from tests.labeling.desk import Desk, invoice, jsonl
from tests.labeling.import_files import packed
from tests.labeling.import_pages import HTMX, PAGE, file, imported


def test_file_is_imported_and_reported(desk: Desk) -> None:
    client = desk.as_("engineer")
    upload = file("../rows.jsonl", jsonl([invoice(1), "oops", invoice(1)]))
    answer = client.post(desk.url(PAGE), {"file": upload, "as_holdout": "on"})
    run = ImportRun.objects.get()
    assert answer["Location"] == desk.url(f"{PAGE}{run.pk}/")
    assert (run.file_name, run.kind, run.status, run.as_holdout) == ("rows.jsonl", "jsonl", Status.QUEUED, True)
    waiting = client.get(answer["Location"]).content.decode()
    assert "waiting for a worker" in waiting
    assert "every 1s" in waiting

    run_import(run.pk)
    run_indexing(IndexRun.objects.get().pk)
    page = client.get(answer["Location"], headers=HTMX).content.decode()
    assert "every 1s" not in page, "an ended import is not polled"
    assert "<html" not in page
    for text in ("not JSON", "Indexed for search in", "1 document is a duplicate and was not changed."):
        assert text in page
    assert Document.objects.get().holdout
    assert DocumentSearch.objects.count() == 1


def test_labels_under_another_name_are_not_imported_unseen(desk: Desk) -> None:
    client = desk.as_("engineer")
    row = invoice(1)
    gold = row.pop("gold")
    for name in ("label", "Labels", "expected", "target"):
        answer = client.post(desk.url(PAGE), {"rows": jsonl([{**row, name: gold}]).decode()})
        assert answer.status_code == 422
        assert name in answer.context["form"].errors["rows"][0]
    assert not ImportRun.objects.exists()
    for rows in ([row], [{**row, "label": 1, "gold": gold}], [{**row, "source": "mail"}]):
        assert client.post(desk.url(PAGE), {"rows": jsonl(rows).decode()}).status_code == 302
    run = imported(desk, {"rows": jsonl([{**row, "label": gold}]).decode(), "without_labels": "on"})
    assert run.imported == 1


def test_rejected_rows_as_jsonl_and_text(desk: Desk) -> None:
    files = {"in/rows.jsonl": jsonl([invoice(1), "oops"]), "in/b.txt": b"\0\0"}
    run = imported(desk, {"file": file("f.zip", packed({**files}))})
    client = desk.as_("annotator")
    rows = client.get(desk.url(f"{PAGE}{run.pk}/rejected.jsonl"))
    assert "attachment" in rows["Content-Disposition"]
    first, second = (json.loads(line) for line in b"".join(rows.streaming_content).splitlines())  # type: ignore[attr-defined]
    assert (first["file"], first["row"], first["line"]) == ("in/rows.jsonl", 2, "oops")
    assert second["file"] == "in/b.txt"
    words = client.get(desk.url(f"{PAGE}{run.pk}/rejected.txt"))
    text = b"".join(words.streaming_content).decode()  # type: ignore[attr-defined]
    assert text.startswith("in/rows.jsonl, row 2: not JSON")
    assert words["Content-Type"] == "text/plain; charset=utf-8"
    assert "in/b.txt" in client.get(desk.url(f"{PAGE}{run.pk}/")).content.decode()


def test_pasted_text_is_imported(desk: Desk) -> None:
    imported(desk, {"rows": jsonl([invoice(1)]).decode()})
    assert Document.objects.get().external_id == "inv-0001"
    imported(desk, {"rows": "just some words\nand more"})
    imported(desk, {"rows": "other words"})
    assert Document.objects.filter(external_id__startswith="text-").count() == 2
    run = imported(desk, {"rows": "first message\nsecond message\n", "split": "lines"})
    assert (run.kind, run.imported) == ("text", 2)


def test_folder_paths_are_kept(desk: Desk) -> None:
    files = [file("a.txt", b"one"), file("a.txt", b"two"), file("rows.jsonl", jsonl([invoice(1)]))]
    paths = json.dumps(["in/x/a.txt", "in/y/a.txt", "../../rows.jsonl"])
    run = imported(desk, {"file": files, "paths": paths})
    assert (run.file_name, run.kind, run.imported) == ("a.txt and 2 more", "zip", 3)
    names = set(Document.objects.values_list("external_id", flat=True))
    assert names == {"in/x/a.txt", "in/y/a.txt", "inv-0001"}


def test_files_with_equal_names_are_numbered(desk: Desk) -> None:
    for paths in ("nonsense", "[" * 100_000, '{"a": 1}', "[1, 2]", '["\\ud800", "b"]'):
        imported(desk, {"file": [file("a.txt", b"one"), file("a.txt", b"two")], "paths": paths})
        assert set(Document.objects.values_list("external_id", flat=True)) == {"a.txt", "2-a.txt"}
        Document.objects.all().delete()


def test_invalid_upload_has_a_message(desk: Desk) -> None:
    client = desk.as_("engineer")
    office = packed({"[Content_Types].xml": "", "word/a.xml": ""})
    invalid: list[tuple[dict[str, Any], str]] = [
        ({}, "Choose a file, or paste text below"),
        ({"rows": "  \n"}, "Choose a file, or paste text below"),
        ({"rows": "{}", "file": file("a.jsonl", b"{}")}, "not both"),
        ({"file": file("a.jsonl", b"")}, "empty"),
        ({"file": file("a.docx", office)}, "Office file"),
        ({"file": file("a.bin", b"\0\1\2")}, "is not supported"),
        ({"file": file("a.txt", b"x"), "kind": "nonsense"}, "Select a valid choice"),
    ]
    for number, (data, message) in enumerate(invalid):
        answer = client.post(desk.url(PAGE), data, headers=HTMX if number % 2 else {})
        assert answer.status_code == 422
        page = answer.content.decode()
        assert message in page
        assert ("<html" in page) == (number % 2 == 0)
    assert not ImportRun.objects.exists()


def test_large_upload_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD", 1000)
    monkeypatch.setattr(upload_handlers, "MAX_UPLOAD", 1000)
    answer = desk.as_("engineer").post(desk.url(PAGE), {"file": file("a.jsonl", b"x" * 200_000)})
    assert answer.status_code == 422
    assert "Split it" in answer.content.decode()


def test_import_form_needs_csrf_token(desk: Desk) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(desk.people["engineer"])
    assert client.post(desk.url(PAGE), {"rows": '{"text": "a"}'}).status_code == 403
    client.get(desk.url(PAGE))
    token = client.cookies["csrftoken"].value
    data = {"file": file("a.jsonl", b'{"text": "a"}'), "csrfmiddlewaretoken": token}
    assert client.post(desk.url(PAGE), data).status_code == 302
