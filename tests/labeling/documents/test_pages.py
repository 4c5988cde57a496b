"""Documents: the list and its filters, a document, by role."""

import re

import pytest
from django.test import Client

from labeling.datasets.freeze import freeze
from labeling.models import Document, DocumentState
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@shared_fixture
def desk() -> Desk:
    return make_desk()


def shown(client: Client, url: str) -> list[str]:
    """The ids of the documents a list shows."""
    return [row.document.external_id for row in client.get(url).context["rows"]]


# -- list --------------------------------------------------------------------------------------------------------------


def test_empty_list(desk: Desk) -> None:
    assert "Import documents" in desk.as_("engineer").get(desk.url("documents/")).content.decode()
    page = desk.as_("annotator").get(desk.url("documents/")).content.decode()
    assert "No documents yet" in page
    assert "Import documents" not in page


def test_pagination_both_ways(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(70)])
    client, url = desk.as_("annotator"), desk.url("documents/")
    first = client.get(url).context["page"]
    second = client.get(url, {"after": first.after}).context["page"]
    third = client.get(url, {"after": second.after}).context["page"]
    start = Document.objects.earliest("pk").pk
    names = [[f"inv-{pk - start:04}" for pk in page.ids] for page in (first, second, third)]
    assert [len(page) for page in names] == [30, 30, 10]
    assert [name for page in names for name in page] == [f"inv-{number:04}" for number in range(70)]
    assert (first.before, third.after) == ("", "")
    back = client.get(url, {"before": third.before}).context["page"]
    assert back.ids == second.ids
    front = client.get(url, {"before": back.before}).context["page"]
    assert front.ids == first.ids
    assert front.before == ""


def test_newest_first(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(40)])
    client, url = desk.as_("annotator"), desk.url("documents/")
    first = client.get(url, {"order": "newest"}).context["page"]
    assert first.ids[0] == Document.objects.get(external_id="inv-0039").pk
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
def test_filters_are_in_the_url(desk: Desk, query: str, names: list[str]) -> None:
    bring_in(desk.project, [invoice(1), invoice(2, tags=["ocr_noise"]), invoice(3, gold=False)])
    bring_in(desk.project, [invoice(4)], as_holdout=True)
    bring_in(desk.project, [{**invoice(5), "text": "100% certain, 1000 times"}], as_holdout=True)
    if "holdout=yes" in query:
        names = [*names, "inv-0005"]
    assert shown(desk.as_("annotator"), desk.url(f"documents/?{query}")) == names


def test_htmx_gets_the_list(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    client = desk.as_("annotator")
    fragment = client.get(desk.url("documents/"), headers=HTMX).content.decode()
    assert "inv-0001" in fragment
    assert "<html" not in fragment
    back = {**HTMX, "HX-History-Restore-Request": "true"}
    assert "<html" in client.get(desk.url("documents/"), headers=back).content.decode()


def test_list_has_no_full_texts(desk: Desk) -> None:
    bring_in(desk.project, [{**invoice(number), "text": f"{number} " + "x" * 50_000} for number in range(40)])
    answer = desk.as_("annotator").get(desk.url("documents/?state=submitted&q=xxx"))
    assert len(answer.context["rows"]) == 30
    assert len(answer.content) < 80_000


def test_documents_of_another_project_are_hidden(desk: Desk) -> None:
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
    text = re.sub(r"</?mark[^>]*>", "", page)
    assert "Invoice F-1 of" in text
    for text in ("Acme Supplies", "OCR noise", "mine", "desk-engineer", "imported", "v1"):
        assert text in page


def test_a_document_without_gold(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    document = Document.objects.get()
    assert "Not labeled yet" in desk.as_("manager").get(desk.url(f"documents/{document.pk}/")).content.decode()
    Document.objects.update(state=DocumentState.SKIPPED, skip_reason="two invoices in one")
    assert "two invoices in one" in desk.as_("manager").get(desk.url(f"documents/{document.pk}/")).content.decode()


def test_hostile_text_is_escaped(desk: Desk) -> None:
    hostile = "<script>alert(1)</script>"
    row = {**invoice(1), "id": hostile, "text": f"{hostile} \u202e evil \u200b", "tags": [hostile], hostile: hostile}
    row["gold"]["vendor"] = hostile
    bring_in(desk.project, [row])
    client = desk.as_("manager")
    for path in ("documents/", f"documents/{Document.objects.get().pk}/", "documents/?q=%3Cscript%3Ealert"):
        page = client.get(desk.url(path)).content.decode()
        assert hostile not in page
        assert "&lt;script&gt;" in page
