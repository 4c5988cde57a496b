"""Documents: the list and its filters, a document, importing through the pages, by role."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from labeling.jobs import run_import
from labeling.models import Document, DocumentState, ImportRun
from labeling.services.datasets import freeze
from slmstudio.runs import Status
from tests.labeling.desk import Desk, bring_in, invoice, jsonl, make_desk

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def shown(client: Client, url: str) -> list[str]:
    """The ids of the documents a list shows."""
    return [document.external_id for document in client.get(url).context["page"].rows]


# -- list --------------------------------------------------------------------------------------------------------------


def test_an_empty_list_says_what_to_do(desk: Desk) -> None:
    assert "Import documents" in desk.as_("engineer").get(desk.url("documents/")).content.decode()
    page = desk.as_("annotator").get(desk.url("documents/")).content.decode()
    assert "No documents yet" in page
    assert "Import documents" not in page


def test_pages_lead_to_the_end_and_back(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(70)])
    client, url = desk.as_("annotator"), desk.url("documents/")
    first = client.get(url).context["page"]
    second = client.get(url, {"after": first.after}).context["page"]
    third = client.get(url, {"after": second.after}).context["page"]
    names = [[document.external_id for document in page.rows] for page in (first, second, third)]
    assert [len(page) for page in names] == [30, 30, 10]
    assert [name for page in names for name in page] == [f"inv-{number:04}" for number in range(70)]
    assert (first.before, third.after) == (None, None)
    back = client.get(url, {"before": third.before}).context["page"]
    assert [document.external_id for document in back.rows] == names[1]
    start = client.get(url, {"before": back.before}).context["page"]
    assert [document.external_id for document in start.rows] == names[0]
    assert start.before is None


def test_newest_first(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(40)])
    client, url = desk.as_("annotator"), desk.url("documents/")
    first = client.get(url, {"order": "newest"}).context["page"]
    assert first.rows[0].external_id == "inv-0039"
    assert shown(client, f"{url}?order=newest&after={first.after}")[-1] == "inv-0000"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=new", ["inv-0003"]),
        ("tag=ocr_noise", ["inv-0002"]),
        ("holdout=yes", ["inv-0004"]),
        ("holdout=no&state=submitted", ["inv-0001", "inv-0002"]),
        ("q=f-2", ["inv-0002"]),
        ("q=INV-0004", ["inv-0004"]),
        ("q=03", ["inv-0003"]),
        ("q=100%25", ["inv-0005"]),
        ("q=nothing", []),
        ("state=nonsense", ["inv-0001", "inv-0002", "inv-0003", "inv-0004", "inv-0005"]),
        ("after=x&before=-1", ["inv-0001", "inv-0002", "inv-0003", "inv-0004", "inv-0005"]),
    ],
)
def test_filters_live_in_the_address(desk: Desk, query: str, names: list[str]) -> None:
    bring_in(desk.project, [invoice(1), invoice(2, tags=["ocr_noise"]), invoice(3, gold=False)])
    bring_in(desk.project, [invoice(4)], as_holdout=True)
    bring_in(desk.project, [{**invoice(5), "text": "100% certain, 1000 times"}], as_holdout=True)
    if "holdout=yes" in query:
        names = [*names, "inv-0005"]
    assert shown(desk.as_("annotator"), desk.url(f"documents/?{query}")) == names


def test_htmx_gets_the_list_alone(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    client = desk.as_("annotator")
    fragment = client.get(desk.url("documents/"), headers=HTMX).content.decode()
    assert "inv-0001" in fragment
    assert "<html" not in fragment
    back = {**HTMX, "HX-History-Restore-Request": "true"}
    assert "<html" in client.get(desk.url("documents/"), headers=back).content.decode()


def test_the_list_takes_at_most_eight_queries_and_no_whole_texts(desk: Desk) -> None:
    bring_in(desk.project, [{**invoice(number), "text": f"{number} " + "x" * 50_000} for number in range(40)])
    client = desk.as_("annotator")
    with CaptureQueriesContext(connection) as captured:
        answer = client.get(desk.url("documents/?state=submitted&q=xxx"))
    assert len(captured) <= 8, [query["sql"] for query in captured]
    assert len(answer.content) < 60_000


def test_one_never_sees_documents_of_another_project(desk: Desk) -> None:
    other = make_desk("other")
    bring_in(other.project, [invoice(1)])
    document = Document.objects.get()
    client = desk.as_("owner")
    assert shown(client, desk.url("documents/")) == []
    assert client.get(other.url("documents/")).status_code == 404
    assert client.get(desk.url(f"documents/{document.pk}/")).status_code == 404


# -- one document ------------------------------------------------------------------------------------------------------


def test_a_document_shows_text_gold_tags_history_and_datasets(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, tags=["ocr_noise", "mine"], page={"width": 7})], user=desk.people["engineer"])
    bring_in(desk.project, [invoice(2)])
    freeze(project=desk.project, user=desk.people["engineer"], holdout_share=0)
    document = Document.objects.get(external_id="inv-0001")
    page = desk.as_("manager").get(desk.url(f"documents/{document.pk}/")).content.decode()
    for text in ("Invoice F-1 of", "Acme Supplies", "OCR noise", "mine", "desk-engineer", "imported", "v1"):
        assert text in page


def test_a_document_without_gold(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    document = Document.objects.get()
    assert "Not labelled yet" in desk.as_("manager").get(desk.url(f"documents/{document.pk}/")).content.decode()
    Document.objects.update(state=DocumentState.SKIPPED, skip_reason="two invoices in one")
    assert "two invoices in one" in desk.as_("manager").get(desk.url(f"documents/{document.pk}/")).content.decode()


def test_hostile_text_stays_text(desk: Desk) -> None:
    hostile = "<script>alert(1)</script>"
    row = {**invoice(1), "id": hostile, "text": f"{hostile} \u202e evil \u200b", "tags": [hostile], hostile: hostile}
    row["gold"]["vendor"] = hostile
    bring_in(desk.project, [row])
    client = desk.as_("manager")
    for path in ("documents/", f"documents/{Document.objects.get().pk}/", "documents/?q=%3Cscript%3Ealert"):
        page = client.get(desk.url(path)).content.decode()
        assert hostile not in page
        assert "&lt;script&gt;" in page


# -- importing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["annotator", "reviewer", "manager"])
def test_others_may_not_import(desk: Desk, role: str) -> None:
    client = desk.as_(role)
    assert client.get(desk.url("documents/import/")).status_code == 403
    assert client.post(desk.url("documents/import/"), {"rows": '{"text": "a"}'}).status_code == 403
    assert not ImportRun.objects.exists()


@pytest.mark.parametrize("role", ["engineer", "owner"])
def test_a_file_is_imported_and_its_page_tells(desk: Desk, role: str) -> None:
    client = desk.as_(role)
    upload = SimpleUploadedFile("../rows.jsonl", jsonl([invoice(1), "oops", invoice(1)]))
    answer = client.post(desk.url("documents/import/"), {"file": upload, "as_holdout": "on"})
    run = ImportRun.objects.get()
    assert answer["Location"] == desk.url(f"documents/import/{run.pk}/")
    assert (run.file_name, run.status, run.as_holdout) == ("rows.jsonl", Status.QUEUED, True)
    waiting = client.get(answer["Location"]).content.decode()
    assert "waiting for a worker" in waiting
    assert "every 1s" in waiting

    run_import(run.pk)
    page = client.get(answer["Location"], headers=HTMX).content.decode()
    assert "every 1s" not in page, "an ended import is not polled"
    assert "<html" not in page
    assert "not JSON" in page
    rejects = client.get(desk.url(f"documents/import/{run.pk}/rejected.jsonl"))
    assert b'"line": "oops"' in b"".join(rejects.streaming_content)  # type: ignore[attr-defined]
    assert "attachment" in rejects["Content-Disposition"]
    assert Document.objects.get().holdout


def test_pasted_rows_are_imported(desk: Desk) -> None:
    desk.as_("engineer").post(desk.url("documents/import/"), {"rows": jsonl([invoice(1)]).decode()})
    run = ImportRun.objects.get()
    run_import(run.pk)
    assert Document.objects.get().external_id == "inv-0001"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "Choose a file, or paste rows below"),
        ({"rows": "  \n"}, "Choose a file, or paste rows below"),
        ({"rows": "{}", "file": "both"}, "not both"),
        ({"file": "empty"}, "empty"),
    ],
)
def test_a_bad_upload_says_why(desk: Desk, data: dict[str, Any], said: str) -> None:
    files = {"both": b"{}", "empty": b""}
    if "file" in data:
        data = {**data, "file": SimpleUploadedFile("rows.jsonl", files[data["file"]])}
    answer = desk.as_("engineer").post(desk.url("documents/import/"), data)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert not ImportRun.objects.exists()


def test_a_waiting_import_can_be_cancelled_by_those_who_may_import(desk: Desk) -> None:
    desk.as_("engineer").post(desk.url("documents/import/"), {"rows": '{"text": "a"}'})
    run = ImportRun.objects.get()
    url = desk.url(f"documents/import/{run.pk}/cancel/")
    assert desk.as_("annotator").post(url).status_code == 403
    assert desk.as_("engineer").get(url).status_code == 405
    assert desk.as_("owner").post(url).status_code == 302
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    page = desk.as_("owner").post(url, follow=True).content.decode()
    assert "had ended already" in page


def test_there_is_no_file_of_rejects_where_nothing_was_rejected(desk: Desk) -> None:
    desk.as_("engineer").post(desk.url("documents/import/"), {"rows": '{"text": "a"}'})
    run = ImportRun.objects.get()
    run_import(run.pk)
    assert desk.as_("engineer").get(desk.url(f"documents/import/{run.pk}/rejected.jsonl")).status_code == 404
