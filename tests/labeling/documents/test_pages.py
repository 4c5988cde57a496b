"""Documents: the list and its filters, a document, by role."""

import pytest
from django.test import Client

from labeling.models import Document
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
