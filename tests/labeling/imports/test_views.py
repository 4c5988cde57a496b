"""Importing through the pages: files, folders, pasted text, the columns of a table, what came of it, by role."""

import json
import time
import zipfile
from io import BytesIO
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from labeling.imports import services as import_services
from labeling.imports import upload_handlers, uploads
from labeling.imports.formats import scans
from labeling.jobs import run_import, run_indexing
from labeling.models import (
    Document,
    DocumentSearch,
    Gold,
    ImportRun,
    IndexRun,
    Page,
    Project,
    Webhook,
    WebhookDelivery,
)
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.labeling.desk import Desk, browser, invoice, jsonl, make_desk
from tests.labeling.import_files import packed, pdf

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
PAGE = "documents/import/"


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def file(name: str, data: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def imported(desk: Desk, data: dict[str, Any]) -> ImportRun:
    """Sends the form and does the import that comes of it."""
    answer = desk.as_("engineer").post(desk.url(PAGE), data)
    assert answer.status_code == 302, answer.content.decode()
    run = ImportRun.objects.order_by("-pk")[0]
    run_import(run.pk)
    run.refresh_from_db()
    return run


@pytest.mark.parametrize("role", ["annotator", "reviewer", "manager"])
def test_others_may_not_import(desk: Desk, role: str) -> None:
    client = desk.as_(role)
    assert client.get(desk.url(PAGE)).status_code == 403
    assert client.post(desk.url(PAGE), {"rows": '{"text": "a"}'}).status_code == 403
    assert client.post(desk.url(PAGE), {"file": file("a.txt", b"words")}).status_code == 403
    assert client.get(desk.url(f"{PAGE}columns/")).status_code == 403
    assert not ImportRun.objects.exists()


@pytest.mark.parametrize("role", ["engineer", "owner"])
def test_a_file_is_imported_and_its_page_tells(desk: Desk, role: str) -> None:
    client = desk.as_(role)
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
    assert "not JSON" in page
    assert "Indexed for search in" in page
    assert "1 document is a duplicate and was not changed." in page
    assert Document.objects.get().holdout
    assert DocumentSearch.objects.count() == 1


def test_the_rejected_rows_can_be_had_as_rows_and_in_words(desk: Desk) -> None:
    files = {"in/rows.jsonl": jsonl([invoice(1), "oops"]), "in/b.txt": b"\0\0"}
    run = imported(desk, {"file": file("f.zip", packed({**files}))})
    client = desk.as_("annotator")
    rows = client.get(desk.url(f"{PAGE}{run.pk}/rejected.jsonl"))
    assert "attachment" in rows["Content-Disposition"]
    first, second = (json.loads(line) for line in b"".join(rows.streaming_content).splitlines())  # type: ignore[attr-defined]
    assert (first["file"], first["row"], first["line"]) == ("in/rows.jsonl", 2, "oops")
    assert second["file"] == "in/b.txt"
    words = client.get(desk.url(f"{PAGE}{run.pk}/rejected.txt"))
    said = b"".join(words.streaming_content).decode()  # type: ignore[attr-defined]
    assert said.startswith("in/rows.jsonl, row 2: not JSON")
    assert words["Content-Type"] == "text/plain; charset=utf-8"
    assert "in/b.txt" in client.get(desk.url(f"{PAGE}{run.pk}/")).content.decode()


def test_what_is_pasted_is_imported(desk: Desk) -> None:
    imported(desk, {"rows": jsonl([invoice(1)]).decode()})
    assert Document.objects.get().external_id == "inv-0001"
    imported(desk, {"rows": "just some words\nand more"})
    imported(desk, {"rows": "other words"})
    assert Document.objects.filter(external_id__startswith="text-").count() == 2


def test_a_pasted_text_may_be_many_documents(desk: Desk) -> None:
    run = imported(desk, {"rows": "first message\nsecond message\n", "split": "lines"})
    assert (run.kind, run.imported) == ("text", 2)


def test_several_files_keep_their_places_in_the_folder(desk: Desk) -> None:
    files = [file("a.txt", b"one"), file("a.txt", b"two"), file("rows.jsonl", jsonl([invoice(1)]))]
    paths = json.dumps(["in/x/a.txt", "in/y/a.txt", "../../rows.jsonl"])
    run = imported(desk, {"file": files, "paths": paths})
    assert (run.file_name, run.kind, run.imported) == ("3 files.zip", "zip", 3)
    names = set(Document.objects.values_list("external_id", flat=True))
    assert names == {"in/x/a.txt", "in/y/a.txt", "inv-0001"}


@pytest.mark.parametrize("paths", ["nonsense", "[" * 100_000, '{"a": 1}', "[1, 2]", '["\\ud800", "b"]'])
def test_files_of_one_name_without_places_are_told_apart(desk: Desk, paths: str) -> None:
    imported(desk, {"file": [file("a.txt", b"one"), file("a.txt", b"two")], "paths": paths})
    assert set(Document.objects.values_list("external_id", flat=True)) == {"a.txt", "2-a.txt"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "Choose a file, or paste text below"),
        ({"rows": "  \n"}, "Choose a file, or paste text below"),
        ({"rows": "{}", "file": ("a.jsonl", b"{}")}, "not both"),
        ({"file": ("a.jsonl", b"")}, "empty"),
        ({"file": ("a.docx", packed({"[Content_Types].xml": "", "word/a.xml": ""}))}, "Office file"),
        ({"file": ("a.bin", b"\0\1\2")}, "is not supported"),
        ({"file": ("a.txt", b"x"), "kind": "nonsense"}, "Select a valid choice"),
    ],
)
@pytest.mark.parametrize("htmx", [False, True])
def test_a_bad_upload_says_why(desk: Desk, data: dict[str, Any], said: str, htmx: bool) -> None:
    if "file" in data:
        data = {**data, "file": file(*data["file"])}
    answer = desk.as_("engineer").post(desk.url(PAGE), data, headers=HTMX if htmx else {})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert said in page
    assert ("<html" in page) is not htmx
    assert not ImportRun.objects.exists()


def test_an_upload_that_is_too_large_is_refused_without_being_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MAX_UPLOAD", 1000)
    monkeypatch.setattr(upload_handlers, "MAX_UPLOAD", 1000)
    answer = desk.as_("engineer").post(desk.url(PAGE), {"file": file("a.jsonl", b"x" * 200_000)})
    assert answer.status_code == 422
    assert "Split it" in answer.content.decode()


def test_the_form_is_protected_against_other_sites(desk: Desk) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(desk.people["engineer"])
    assert client.post(desk.url(PAGE), {"rows": '{"text": "a"}'}).status_code == 403
    client.get(desk.url(PAGE))
    token = client.cookies["csrftoken"].value
    data = {"file": file("a.jsonl", b'{"text": "a"}'), "csrfmiddlewaretoken": token}
    assert client.post(desk.url(PAGE), data).status_code == 302


def test_htmx_is_sent_on_to_the_page_of_the_import(desk: Desk) -> None:
    answer = desk.as_("engineer").post(desk.url(PAGE), {"rows": '{"text": "a"}'}, headers=HTMX)
    assert answer["HX-Redirect"] == desk.url(f"{PAGE}{ImportRun.objects.get().pk}/")


# -- columns -----------------------------------------------------------------------------------------------------------

TABLE = b"text,category\nmy card is lost,billing\nI want to buy,sales\nwhat is this,unknown\n"


def asked(desk: Desk, name: str = "train.csv", data: bytes = TABLE) -> str:
    """The address of the page that asks for the columns."""
    answer = desk.as_("engineer").post(desk.url(PAGE), {"file": file(name, data), "as_holdout": "on"})
    assert answer["Location"].startswith(desk.url(f"{PAGE}columns/?u="))
    return str(answer["Location"])


def ticket(address: str) -> str:
    from urllib.parse import parse_qs, urlsplit

    return parse_qs(urlsplit(address).query)["u"][0]


def test_a_table_asks_for_its_columns_and_tries_the_guess() -> None:
    desk = make_desk("routing", template="ticket-routing")
    address = asked(desk)
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

    sent = client.post(desk.url(f"{PAGE}columns/"), {"u": ticket(address), "c0": "text", "c1": "gold:queue"})
    run = ImportRun.objects.get()
    assert sent["Location"] == desk.url(f"{PAGE}{run.pk}/")
    run_import(run.pk)
    run.refresh_from_db()
    assert (run.kind, run.imported, run.rejected, run.as_holdout) == ("csv", 2, 1, True)
    assert {gold.revision.value["queue"] for gold in Gold.objects.all()} == {"billing", "sales"}


def test_other_columns_can_be_chosen(desk: Desk) -> None:
    address = asked(desk)
    fragment = desk.as_("engineer").get(f"{address}&c1=beside", headers=HTMX).content.decode()
    assert "<html" not in fragment
    assert "The first 3 rows are valid" in fragment
    desk.as_("engineer").post(desk.url(f"{PAGE}columns/"), {"u": ticket(address), "c1": "id"})
    run_import(ImportRun.objects.get().pk)
    assert set(Document.objects.values_list("external_id", flat=True)) == {"billing", "sales", "unknown"}


def test_a_mapping_that_cannot_be_is_refused(desk: Desk) -> None:
    address = asked(desk)
    answer = desk.as_("engineer").post(
        desk.url(f"{PAGE}columns/"), {"u": ticket(address), "c0": "beside", "c1": "beside"}
    )
    assert answer.status_code == 422
    assert "Choose the column that holds the document text." in answer.content.decode()
    assert not ImportRun.objects.exists()


def test_the_way_a_table_is_written_can_be_said(desk: Desk) -> None:
    address = asked(desk, data=b"a|b,c\nd|e,f\n")
    answer = desk.as_("engineer").get(f"{address}&delimiter=|&header=no")
    assert [column["name"] for column in answer.context["columns"]] == ["column 1", "column 2"]
    assert answer.context["rows"] == [["a", "b,c"], ["d", "e,f"]]


def test_a_ticket_is_of_one_project_and_cannot_be_made(desk: Desk) -> None:
    address = asked(desk)
    other = make_desk("other")
    for where, text in ((other, ticket(address)), (desk, "made-up"), (desk, "")):
        answer = where.as_("engineer").get(where.url(f"{PAGE}columns/"), {"u": text}, follow=True)
        assert "Upload it again" in answer.content.decode()


def test_an_upload_nobody_imports_is_thrown_away(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    address = asked(desk)
    assert uploads.delete_expired() == 0
    monkeypatch.setattr(uploads, "RETENTION", -uploads.RETENTION)
    assert uploads.delete_expired() >= 1
    monkeypatch.undo()
    assert "Upload it again" in desk.as_("engineer").get(address, follow=True).content.decode()


# -- while it runs, and after ------------------------------------------------------------------------------------------


def test_a_waiting_import_can_be_cancelled_by_those_who_may_import(desk: Desk) -> None:
    desk.as_("engineer").post(desk.url(PAGE), {"rows": '{"text": "a"}'})
    run = ImportRun.objects.get()
    url = desk.url(f"{PAGE}{run.pk}/cancel/")
    assert desk.as_("annotator").post(url).status_code == 403
    assert desk.as_("engineer").get(url).status_code == 405
    assert desk.as_("owner").post(url).status_code == 302
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    page = desk.as_("owner").post(url, follow=True).content.decode()
    assert "has already ended" in page


def test_an_import_that_ended_early_can_be_started_again(desk: Desk) -> None:
    desk.as_("engineer").post(desk.url(PAGE), {"rows": '{"text": "a"}'})
    run = ImportRun.objects.get()
    run.cancel()
    url = desk.url(f"{PAGE}{run.pk}/again/")
    assert "Restart import" in desk.as_("engineer").get(desk.url(f"{PAGE}{run.pk}/")).content.decode()
    assert desk.as_("reviewer").post(url).status_code == 403
    answer = desk.as_("engineer").post(url)
    new = ImportRun.objects.exclude(pk=run.pk).get()
    assert answer["Location"] == desk.url(f"{PAGE}{new.pk}/")
    run_import(new.pk)
    assert Document.objects.count() == 1
    said = desk.as_("engineer").post(desk.url(f"{PAGE}{new.pk}/again/"), follow=True).content.decode()
    assert "cannot be restarted" in said


def test_a_full_project_is_refused_with_the_reason_and_keeps_accepted_uploads(desk: Desk, settings: Any) -> None:
    client = desk.as_("engineer")
    client.post(desk.url(PAGE), {"rows": '{"text": "a"}'})
    run = ImportRun.objects.get()
    run.cancel()
    address = client.post(desk.url(PAGE), {"file": file("rows.csv", b"id,text\na,b\n")})["Location"]
    settings.PROJECT_STORAGE_GB = 1e-9
    cache.clear()
    said = client.post(desk.url(f"{PAGE}{run.pk}/again/"), follow=True).content.decode()
    assert "PROJECT_STORAGE_GB" in said
    assert artifacts.store().exists(run.upload_key)
    for url, data in ((f"{PAGE}columns/", {"u": ticket(address)}), (PAGE, {"rows": '{"text": "b"}'})):
        answer = client.post(desk.url(url), data)
        assert (answer.status_code, "PROJECT_STORAGE_GB" in answer.content.decode()) == (422, True)
    assert ImportRun.objects.get() == run
    settings.PROJECT_STORAGE_GB = 0
    assert client.post(desk.url(f"{PAGE}columns/"), {"u": ticket(address)}).status_code == 302
    assert client.post(desk.url(f"{PAGE}{run.pk}/again/")).status_code == 302
    assert ImportRun.objects.count() == 3


def test_there_is_no_file_of_rejects_where_nothing_was_rejected(desk: Desk) -> None:
    run = imported(desk, {"rows": '{"text": "a"}'})
    for name in ("rejected.jsonl", "rejected.txt"):
        assert desk.as_("engineer").get(desk.url(f"{PAGE}{run.pk}/{name}")).status_code == 404


def test_hostile_names_and_reasons_stay_text(desk: Desk) -> None:
    hostile = "<script>alert(1)</script>"
    row = json.dumps({"id": hostile, "text": 7})
    run = imported(desk, {"file": file(f"{hostile}.jsonl", row.encode())})
    for path in (PAGE, f"{PAGE}{run.pk}/"):
        assert hostile not in desk.as_("engineer").get(desk.url(path)).content.decode()


def test_a_file_that_cannot_be_read_as_a_whole_fails_with_a_sentence(desk: Desk) -> None:
    upload = uploads.store_upload(files=[file("t.csv", b"a,b\n1,2\n")])
    from labeling.imports.services import start_upload

    run = start_upload(project=desk.project, user=desk.people["engineer"], upload=upload)
    run_import(run.pk)
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert run.error == "Choose the column that holds the document text. The columns are: a, b."


def test_those_who_listen_are_told(desk: Desk) -> None:
    Webhook.objects.create(project=desk.project, url="https://example.org/hook", events=["import.finished"], salt="s")
    Project.objects.filter(pk=desk.project.pk).update(webhook_events=["import.finished"])
    imported(desk, {"rows": jsonl([invoice(1), "oops"]).decode()})
    told = WebhookDelivery.objects.get()
    assert told.payload["imported"] == told.payload["rejected"] == 1


def test_the_upload_goes_when_all_of_it_is_in(desk: Desk) -> None:
    run = imported(desk, {"rows": '{"text": "a"}'})
    assert not artifacts.store().exists(run.upload_key)


# -- pages -------------------------------------------------------------------------------------------------------------


def test_the_image_of_a_page_is_for_members_and_never_sent_twice(desk: Desk) -> None:
    imported(desk, {"file": file("a.pdf", pdf([["Invoice A-1"], ["Page two"]]))})
    document = Document.objects.get()
    assert (document.external_id, document.page_count) == ("a.pdf", 2)
    url = desk.url(f"documents/{document.pk}/pages/2/image")
    client = desk.as_("annotator")
    answer = client.get(url)
    data = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert (answer["Content-Type"], data[8:12]) == ("image/webp", b"WEBP")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "private, max-age=3600"
    assert client.get(url, headers={"If-None-Match": answer["ETag"]}).status_code == 304
    assert client.get(desk.url(f"documents/{document.pk}/pages/3/image")).status_code == 404
    assert client.post(url).status_code == 405

    stranger = browser(make_desk("other").people["owner"])
    assert stranger.get(url).status_code == 404
    assert stranger.get(f"/p/other/documents/{document.pk}/pages/2/image").status_code == 404


def test_a_page_without_image_has_none(desk: Desk) -> None:
    lines = [{"text": "Total", "bbox": [1, 2, 3, 4]}]
    row = {"id": "r", "text": "Total", "page": {"width": 10, "height": 10, "lines": lines}}
    imported(desk, {"rows": json.dumps(row)})
    found = Page.objects.get()
    url = desk.url(f"documents/{found.document_id}/pages/1/image")
    assert desk.as_("annotator").get(url).status_code == 404


def test_an_image_that_is_gone_is_a_404(desk: Desk) -> None:
    imported(desk, {"file": file("a.pdf", pdf([["Invoice A-1"]]))})
    found = Page.objects.get()
    artifacts.store().delete(found.image_key)
    assert desk.as_("annotator").get(desk.url(f"documents/{found.document_id}/pages/1/image")).status_code == 404


def test_a_folder_of_pdfs_with_a_broken_one(desk: Desk) -> None:
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w") as zipped:
        zipped.writestr("good.pdf", pdf([["Good"]]))
        zipped.writestr("bad.pdf", pdf([["Bad"]])[:150])
        zipped.writestr("locked.pdf", pdf([["x"]], encrypted=True))
    run = imported(desk, {"file": file("f.zip", whole.getvalue()), "ocr": "never"})
    assert (run.imported, run.rejected) == (1, 2)
    reasons = {row["file"]: row["reason"] for row in run.rejects}
    assert "password" in reasons["locked.pdf"]
    assert "not a valid PDF" in reasons["bad.pdf"]


# -- what the page of an import says -----------------------------------------------------------------------------------


def test_the_page_names_the_encoding(desk: Desk) -> None:
    run = imported(desk, {"file": file("a.txt", "Grüße".encode("cp1252"))})
    assert run.encoding == "Windows-1252 (Western Europe)"
    assert Document.objects.get().text == "Grüße"
    assert run.encoding in desk.as_("engineer").get(desk.url(f"{PAGE}{run.pk}/")).content.decode()
    many = packed({"a.txt": "Straße".encode("cp1252"), "b.txt": "Gräte".encode(), "c.jsonl": jsonl([invoice(1)])})
    assert imported(desk, {"file": file("f.zip", many)}).encoding == "Windows-1252 (Western Europe), UTF-8"
    assert imported(desk, {"file": file("a.pdf", pdf([["Total 2.50"]]))}).encoding == ""


def test_see_the_documents_shows_those_of_this_import(desk: Desk) -> None:
    first = imported(desk, {"file": file("rows.jsonl", jsonl([invoice(1), invoice(2)]))})
    second = imported(desk, {"file": file("rows.jsonl", jsonl([invoice(2), invoice(3)]))})
    client = desk.as_("engineer")
    for run, names in ((first, {"inv-0001", "inv-0002"}), (second, {"inv-0003"})):
        link = f"documents/?imported={run.pk}"
        assert link in client.get(desk.url(f"{PAGE}{run.pk}/")).content.decode()
        page = client.get(desk.url(link))
        assert {row.document.external_id for row in page.context["rows"]} == names
        assert [chip.title for chip in page.context["chips"]] == ["import"]
        assert f'name="imported" value="{run.pk}"' in page.content.decode()
    for strange in ("999", "x", "99999999999999999999"):
        page = client.get(desk.url(f"documents/?imported={strange}"))
        assert page.status_code == 200


@pytest.mark.parametrize(("rows", "said"), [(1, "The document is a duplicate"), (2, "All 2 documents are duplicates")])
def test_an_import_of_nothing_new_says_so(desk: Desk, rows: int, said: str) -> None:
    data = jsonl([invoice(number) for number in range(rows)])
    imported(desk, {"file": file("rows.jsonl", data)})
    again = imported(desk, {"file": file("rows.jsonl", data)})
    assert said in desk.as_("engineer").get(desk.url(f"{PAGE}{again.pk}/")).content.decode()


def test_a_scan_is_counted_by_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[dict[str, Any]] = []
    beat, answer = ImportRun.send_heartbeat, scans.Scanner._answer

    def noted(run: ImportRun, **columns: Any) -> bool:
        beats.append(columns)
        return beat(run, **columns)

    def slow(scanner: scans.Scanner, page: int) -> dict[str, Any]:
        found = answer(scanner, page)
        until = time.monotonic() + 5
        # The next page is read only once this one was told.
        while page > 1 and time.monotonic() < until and not any(b.get("progress_done") == page - 1 for b in beats):
            time.sleep(0.005)
        return found

    monkeypatch.setattr(import_services, "PAGE_PROGRESS_SECONDS", 0.01)
    monkeypatch.setattr(ImportRun, "send_heartbeat", noted)
    monkeypatch.setattr(scans.Scanner, "_answer", slow)
    run = imported(desk, {"file": file("a.pdf", pdf([["one"], ["two"], ["three"]]))})
    assert run.status == Status.DONE
    pages = [(b["progress_done"], b["progress_total"]) for b in beats if b.get("stage") == "reading pages"]
    assert {(1, 3), (2, 3), (3, 3)} <= {*pages, (3, 3)}
    assert pages == sorted(pages)


def test_the_step_for_columns_names_what_was_recognized(desk: Desk) -> None:
    table = "text;id\nStraße 5, 10 €;a\n".encode("cp1252")
    client = desk.as_("engineer")
    step = client.post(desk.url(PAGE), {"file": file("t.csv", table)})["Location"]
    page = client.get(step).content.decode()
    assert "Detected: Windows-1252" in page
    assert "Detected: semicolon" in page
    assert "Straße 5, 10 €" in page
