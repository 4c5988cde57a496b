"""The page of an import: progress, result, rejected rows, cancelling and restarting."""

import json
import time
import zipfile
from html import unescape
from io import BytesIO
from typing import Any

import pytest
from django.core.cache import caches

from labeling.imports import services as import_services
from labeling.imports import uploads
from labeling.imports.formats import scans
from labeling.jobs import run_import
from labeling.models import (
    Document,
    ImportRun,
    Page,
    Project,
    Webhook,
    WebhookDelivery,
)
from slmstudio.quotas import storage_problem
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.labeling.desk import Desk, browser, invoice, jsonl, make_desk
from tests.labeling.import_files import packed, pdf
from tests.labeling.import_pages import PAGE, file, imported, upload_token


def test_queued_import_is_cancelled_and_restarted(desk: Desk) -> None:
    client = desk.as_("engineer")
    client.post(desk.url(PAGE), {"rows": '{"text": "a"}'})
    run = ImportRun.objects.get()
    url = desk.url(f"{PAGE}{run.pk}/")
    assert client.post(f"{url}cancel/").status_code == 302
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert "has already ended" in client.post(f"{url}cancel/", follow=True).content.decode()
    assert "Restart import" in client.get(url).content.decode()
    answer = client.post(f"{url}again/")
    new = ImportRun.objects.exclude(pk=run.pk).get()
    assert answer["Location"] == desk.url(f"{PAGE}{new.pk}/")
    run_import(new.pk)
    assert Document.objects.count() == 1
    page = client.post(desk.url(f"{PAGE}{new.pk}/again/"), follow=True).content.decode()
    assert "cannot be restarted" in page


@pytest.mark.parametrize(("wrong", "advised"), [(15, False), (17, True)])
def test_advice_to_change_the_schema_needs_most_labels(desk: Desk, wrong: int, advised: bool) -> None:
    rows = [invoice(number) for number in range(32)]
    for row in rows[:wrong]:
        row["gold"]["date"] = "14 Jan"
    run = imported(desk, {"file": file("rows.jsonl", jsonl(rows))})
    assert run.rejected == wrong
    assert desk.as_("engineer").get(desk.url(f"{PAGE}{run.pk}/")).context["misfits"] == advised


def test_import_is_named_after_its_files(desk: Desk) -> None:
    client = desk.as_("engineer")
    for number, (names, name, unit) in enumerate(
        [
            (["rows.jsonl"], "rows.jsonl", "row"),
            (["a.txt"], "a.txt", "document"),
            (["c.txt", "b.txt"], "c.txt and 1 more", "document"),
            (["scans/a.txt", "scans/deep/b.txt"], "scans", "document"),
        ]
    ):
        texts = [f"text {number} {path}" for path in names]
        files = [
            file(path, jsonl([{"text": text}]) if unit == "row" else text.encode())
            for path, text in zip(names, texts, strict=True)
        ]
        run = imported(desk, {"file": files, "paths": json.dumps(names if len(names) > 1 else [])})
        assert (run.file_name, run.imported) == (name, len(names))
        assert client.get(desk.url(f"{PAGE}{run.pk}/")).context["unit"] == unit


def test_full_project_refuses_imports(desk: Desk, settings: Any) -> None:
    client = desk.as_("engineer")
    client.post(desk.url(PAGE), {"rows": '{"text": "a"}'})
    run = ImportRun.objects.get()
    run.cancel()
    address = client.post(desk.url(PAGE), {"file": file("rows.csv", b"id,text\na,b\n")})["Location"]
    settings.PROJECT_STORAGE_GB = 1e-9
    caches["process"].clear()
    problem = storage_problem(run.project)
    page = client.post(desk.url(f"{PAGE}{run.pk}/again/"), follow=True).content.decode()
    assert problem in unescape(page)
    assert artifacts.store().exists(run.upload_key)
    for url, data in ((f"{PAGE}columns/", {"u": upload_token(address)}), (PAGE, {"rows": '{"text": "b"}'})):
        answer = client.post(desk.url(url), data)
        assert (answer.status_code, problem in unescape(answer.content.decode())) == (422, True)
    assert ImportRun.objects.get() == run
    settings.PROJECT_STORAGE_GB = 0
    assert client.post(desk.url(f"{PAGE}columns/"), {"u": upload_token(address)}).status_code == 302
    assert client.post(desk.url(f"{PAGE}{run.pk}/again/")).status_code == 302
    assert ImportRun.objects.count() == 3


def test_import_emits_event_and_leaves_no_file(desk: Desk) -> None:
    Webhook.objects.create(project=desk.project, url="https://example.org/hook", events=["import.finished"], salt="s")
    Project.objects.filter(pk=desk.project.pk).update(webhook_events=["import.finished"])
    run = imported(desk, {"rows": '{"text": "a"}'})
    emitted = WebhookDelivery.objects.get()
    assert (emitted.payload["imported"], emitted.payload["rejected"]) == (1, 0)
    assert not artifacts.store().exists(run.upload_key)
    for name in ("rejected.jsonl", "rejected.txt"):
        assert desk.as_("engineer").get(desk.url(f"{PAGE}{run.pk}/{name}")).status_code == 404


def test_hostile_names_and_reasons_are_escaped(desk: Desk) -> None:
    hostile = "<script>alert(1)</script>"
    run = imported(desk, {"file": file(f"{hostile}.jsonl", json.dumps({"id": hostile, "text": 7}).encode())})
    for path in (PAGE, f"{PAGE}{run.pk}/"):
        assert hostile not in desk.as_("engineer").get(desk.url(path)).content.decode()


def test_unreadable_file_fails_the_import(desk: Desk) -> None:
    upload = uploads.store_upload(files=[file("t.csv", b"a,b\n1,2\n")])
    from labeling.imports.services import start_upload

    run = start_upload(project=desk.project, user=desk.people["engineer"], upload=upload)
    run_import(run.pk)
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert run.error == "Choose the column that contains the document text. The columns are: a, b."


def test_the_page_names_the_encoding(desk: Desk) -> None:
    run = imported(desk, {"file": file("a.txt", "Grüße".encode("cp1252"))})
    assert run.encoding == "Windows-1252 (Western Europe)"
    assert Document.objects.get().text == "Grüße"
    assert run.encoding in desk.as_("engineer").get(desk.url(f"{PAGE}{run.pk}/")).content.decode()
    many = packed({"a.txt": "Straße".encode("cp1252"), "b.txt": "Gräte".encode(), "c.jsonl": jsonl([invoice(1)])})
    assert imported(desk, {"file": file("f.zip", many)}).encoding == "Windows-1252 (Western Europe), UTF-8"
    assert imported(desk, {"file": file("a.pdf", pdf([["Total 2.50"]]))}).encoding == ""


def test_import_links_to_its_documents(desk: Desk) -> None:
    first = imported(desk, {"file": file("rows.jsonl", jsonl([invoice(1), invoice(2)]))})
    second = imported(desk, {"file": file("rows.jsonl", jsonl([invoice(2), invoice(3)]))})
    client = desk.as_("engineer")
    for run, names in ((first, {"inv-0001", "inv-0002"}), (second, {"inv-0003"})):
        link = f"documents/?imported={run.pk}"
        assert link in client.get(desk.url(f"{PAGE}{run.pk}/")).content.decode()
        page = client.get(desk.url(link))
        assert {row.document.external_id for row in page.context["rows"]} == names
        assert [title for title, _, _ in page.context["chips"]] == ["Import"]
        assert f'name="imported" value="{run.pk}"' in page.content.decode()
    for strange in ("999", "x", "99999999999999999999"):
        page = client.get(desk.url(f"documents/?imported={strange}"))
        assert page.status_code == 200


def test_pdf_progress_counts_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[dict[str, Any]] = []
    beat, answer = ImportRun.send_heartbeat, scans.Scanner._answer

    def noted(run: ImportRun, **columns: Any) -> bool:
        beats.append(columns)
        return beat(run, **columns)

    def slow(scanner: scans.Scanner, page: int) -> dict[str, Any]:
        read = answer(scanner, page)
        until = time.monotonic() + 5
        # The next page is read after the progress of this one is stored.
        while page > 1 and time.monotonic() < until and not any(b.get("progress_done") == page - 1 for b in beats):
            time.sleep(0.005)
        return read

    monkeypatch.setattr(import_services, "PAGE_PROGRESS_SECONDS", 0.01)
    monkeypatch.setattr(ImportRun, "send_heartbeat", noted)
    monkeypatch.setattr(scans.Scanner, "_answer", slow)
    run = imported(desk, {"file": file("a.pdf", pdf([["one"], ["two"], ["three"]]))})
    assert run.status == Status.DONE
    pages = [(b["progress_done"], b["progress_total"]) for b in beats if b.get("stage") == "reading pages"]
    assert {(1, 3), (2, 3), (3, 3)} <= {*pages, (3, 3)}
    assert pages == sorted(pages)


# -- imported PDFs and the images of their pages --


def test_page_image_is_for_members(desk: Desk) -> None:
    imported(desk, {"file": file("a.pdf", pdf([["Invoice A-1"], ["Page two"]]))})
    document = Document.objects.get()
    assert (document.external_id, document.page_count) == ("a.pdf", 2)
    url = desk.url(f"documents/{document.pk}/pages/2/image")
    client = desk.as_("annotator")
    answer = client.get(url)
    data = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert (answer["Content-Type"], data[8:12]) == ("image/webp", b"WEBP")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "private, no-store"
    assert client.get(desk.url(f"documents/{document.pk}/pages/3/image")).status_code == 404

    stranger = browser(make_desk("other").people["owner"])
    assert stranger.get(url).status_code == 404
    assert stranger.get(f"/p/other/documents/{document.pk}/pages/2/image").status_code == 404
    artifacts.store().delete(Page.objects.get(number=2).image_key)
    assert client.get(url).status_code == 404


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
