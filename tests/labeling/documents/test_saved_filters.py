"""Saved views: own ones, shared ones, what is kept of an address."""

import pytest

from labeling.documents import saved_filters
from labeling.models import SavedView
from slmstudio.errors import Refused
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    made = make_desk()
    bring_in(made.project, [invoice(1), invoice(2, gold=False)])
    return made


def test_view_is_saved_shown_and_deleted(desk: Desk) -> None:
    client = desk.as_("annotator")
    data = {"name": "  To   do ", "query": "state=new&nonsense=1&after=7&order=newest"}
    answer = client.post(desk.url("documents/views/"), data)
    view = SavedView.objects.get()
    assert (view.name, view.query, view.shared) == ("To do", "state=new&order=newest", False)
    assert answer["Location"] == desk.url("documents/?state=new&order=newest")
    page = client.get(answer["Location"]).content.decode()
    assert 'aria-current="page">To do' in page
    assert "Delete view To do" in page
    assert "To do" not in desk.as_("owner").get(desk.url("documents/")).content.decode()
    client.post(desk.url(f"documents/views/{view.pk}/remove/"))
    assert not SavedView.objects.exists()


def test_a_view_of_the_same_name_is_replaced(desk: Desk) -> None:
    for query in ("state=new", "state=submitted"):
        saved_filters.save_view(project=desk.project, user=desk.people["owner"], name="Mine", query=query)
    saved_filters.save_view(project=desk.project, user=desk.people["manager"], name="Mine", query="q=x")
    assert set(SavedView.objects.values_list("query", flat=True)) == {"state=submitted", "q=x"}


def test_shared_view_permissions(desk: Desk) -> None:
    reviewer = desk.people["reviewer"]
    view = saved_filters.save_view(
        project=desk.project, user=reviewer, name="<i>For all", query="state=new", shared=True
    )
    url = desk.url(f"documents/views/{view.pk}/remove/")
    client = desk.as_("annotator")
    page = client.get(desk.url("documents/?state=new")).content.decode()
    assert "&lt;i&gt;For all" in page
    assert "<i>For" not in page
    assert "Delete view" not in page
    assert "can delete this view" in client.post(url, follow=True).content.decode()
    assert SavedView.objects.exists()
    desk.as_("engineer").post(url)
    assert not SavedView.objects.exists()
    private = saved_filters.save_view(project=desk.project, user=reviewer, name="Mine", query="state=new")
    desk.as_("owner").post(desk.url(f"documents/views/{private.pk}/remove/"))
    assert SavedView.objects.exists()


def test_invalid_view_has_a_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    client = desk.as_("annotator")
    conditions = "&".join(["field=vendor&op=contains&value=" + "ä" * 290 + str(number) for number in range(6)])
    for name, query, message in (
        (" ", "state=new", "Enter a name for the view"),
        ("x" * 61, "state=new", "at most 60"),
        ("a", "x" * 20_001, "too long"),
        ("a", conditions, "too long"),
        ("\0", "", "Enter a name for the view"),
    ):
        answer = client.post(desk.url("documents/views/"), {"name": name, "query": query}, follow=True)
        assert answer.status_code == 200
        assert message in answer.content.decode()
    assert not SavedView.objects.exists()
    monkeypatch.setattr(saved_filters, "MAX_VIEWS", 0)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "limit"):
        saved_filters.save_view(project=desk.project, user=desk.people["owner"], name="One", query="")
