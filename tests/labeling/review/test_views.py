"""The pages of reviews: what is listed, shown and sent."""

from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling.annotation import services as annotation_services
from labeling.comments import services as comment_services
from labeling.form.codec import leaf_values
from labeling.form.tree import tree_of
from labeling.models import Document, DocumentState, Gold, Review
from labeling.review import services as review_services
from slmstudio.access import Action, Role, project_for
from slmstudio.contract.json_text import dumps
from slmstudio.panels import NextStep, next_steps_for
from tests.labeling.desk import browser
from tests.labeling.label_desk import TEXT, Desk, make_desk
from tests.labeling.work_desk import change, fresh, member, submit


def at(desk: Desk, path: str = "") -> str:
    return f"/p/{desk.project.slug}/review/{path}"


def page(desk: Desk, user: User, path: str = "", status: int = 200) -> str:
    answer = browser(user).get(at(desk, path))
    assert answer.status_code == status
    return answer.content.decode()


def dispute(desk: Desk, **changes: Any) -> Any:
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, **(changes or {"vendor": "Acme"}))
    return document


def test_pending_labels_show_their_author(desk: Desk) -> None:
    document = desk.document(name="<b>odd</b>")
    submit(document, desk.ana)
    submit(desk.document(), desk.rita)
    shown = page(desk, desk.rita)
    assert "&lt;b&gt;odd&lt;/b&gt;" in shown
    assert desk.ana.username in shown
    assert "Needs another reviewer" in shown
    # Annotators see where their own labels are; deciding takes a reviewer.
    rows = browser(desk.ana).get(at(desk)).context["page"].rows
    assert [row.pk for row in rows] == [document.pk]
    assert at(desk, "next/") not in page(desk, desk.ana)
    dispute(desk)
    assert f"{desk.ana.username}, {desk.ben.username}" in page(desk, desk.rita, "?show=disputed")


def test_approve_redirects_to_next(desk: Desk) -> None:
    first, second = desk.document(), desk.document()
    version = submit(first, desk.ana).version
    submit(second, desk.ana)
    rita = browser(desk.rita)
    assert rita.get(at(desk, "next/"))["Location"] == at(desk, f"{first.pk}/")
    answer = rita.post(at(desk, f"{first.pk}/approve/"), {"version": version}, follow=True)
    assert answer.redirect_chain == [(at(desk, f"next/?after={first.pk}"), 302), (at(desk, f"{second.pk}/"), 302)]
    assert answer.context["last"]["review"].document == first
    assert Gold.objects.get().document == first
    version = fresh(second).annotations.get().version
    answer = rita.post(at(desk, f"{second.pk}/approve/"), {"version": version}, follow=True)
    assert answer.redirect_chain[-1] == (at(desk), 302)
    assert "No labels to review" in answer.content.decode()


def approve(client: Any, desk: Desk, document: Any) -> Any:
    version = fresh(document).annotations.get().version
    return client.post(at(desk, f"{document.pk}/approve/"), {"version": version}, follow=True)


def test_review_counts_the_decisions_of_today(desk: Desk) -> None:
    documents = [desk.document() for _ in range(4)]
    for document in documents[:3]:
        submit(document, desk.ana)
    submit(documents[3], desk.rita)  # her own: another reviewer decides
    rita = browser(desk.rita)

    def place(document: Any) -> tuple[int, int]:
        position = rita.get(at(desk, f"{document.pk}/")).context["position"]
        return position.number, position.total.number

    assert [place(document) for document in documents[:3]] == [(1, 3), (2, 3), (3, 3)]
    approve(rita, desk, documents[0])
    assert place(documents[1]) == (2, 3)
    approve(rita, desk, documents[1])
    assert place(documents[2]) == (3, 3)
    assert rita.get(at(desk, f"{documents[0].pk}/")).context["position"] is None


def test_approval_is_undone(desk: Desk) -> None:
    document = desk.document()
    submit(document, desk.ana)
    rita = browser(desk.rita)
    last = approve(rita, desk, document).context["last"]
    assert last["can_undo"]
    undo = {"review": str(last["review"].pk)}
    assert browser(desk.ana).post(at(desk, f"{document.pk}/undo/"), undo).status_code == 403
    answer = rita.post(at(desk, f"{document.pk}/undo/"), undo, follow=True)
    assert answer.redirect_chain[-1][0] == at(desk, f"{document.pk}/")
    assert fresh(document).state == DocumentState.SUBMITTED
    assert not Gold.objects.exists()
    assert not Review.objects.exists()
    assert rita.post(at(desk, f"{document.pk}/undo/"), undo).status_code == 404
    approve(rita, desk, document)
    assert Gold.objects.get().approved_by == desk.rita


def test_stale_approval_is_refused(desk: Desk) -> None:
    document, client = desk.document(), browser(desk.rita)
    submit(document, desk.ana)
    for version in ("", "x", "7", "-1", "99999999999999999999999"):
        answer = client.post(at(desk, f"{document.pk}/approve/"), {"version": version}, follow=True)
        assert answer.redirect_chain[-1][0] == at(desk, f"{document.pk}/")
        assert "The label has changed" in answer.content.decode()
    assert not Gold.objects.exists()


def test_screen_says_whether_a_submit_approves(desk: Desk) -> None:
    def approves(document: Document, user: User) -> bool:
        state = browser(user).get(reverse("label_state", args=["desk", document.pk])).json()
        return bool(state["approves"])

    rejected, shared = desk.document(), desk.document(overlap=2)
    base = submit(rejected, desk.ana).version
    review_services.reject(document=fresh(rejected), user=desk.rita, reason="The total is wrong.")
    assert [approves(rejected, user) for user in (desk.ana, desk.rita)] == [False, True]
    assert submit(rejected, desk.rita, base).approved
    submit(shared, desk.ana)
    assert not approves(shared, desk.rita)
    assert not submit(shared, desk.rita).approved
    # Over one's own approved label a submit approves only where four eyes are not required.
    for settings, expected in (
        ({"review_required": True}, False), ({"review_required": False}, False), ({"four_eyes": False}, True),
    ):  # fmt: skip
        own = desk.document()
        base = submit(own, desk.rita).version
        review_services.approve(document=fresh(own), user=desk.owner, base_version=base)
        change(desk, **settings)
        assert approves(own, desk.rita) is expected
        assert submit(own, desk.rita, base).approved is expected


def test_reject_needs_a_reason(desk: Desk) -> None:
    document = desk.document()
    version = submit(document, desk.ana).version
    rita = browser(desk.rita)
    address = at(desk, f"{document.pk}/reject/")
    refused = rita.post(address, {"version": version, "reason": "  "})
    assert refused.status_code == 422
    assert "Enter a reason for the annotator." in refused.content.decode()
    long = rita.post(address, {"version": version, "reason": "x" * 1001})
    assert long.status_code == 422
    assert "x" * 1001 in long.content.decode()
    answer = rita.post(address, {"version": version, "reason": "No <b>."}, follow=True)
    assert answer.context["last"]["review"].decision == Review.Decision.REJECT
    assert fresh(document).state == DocumentState.REJECTED
    again = page(desk, desk.rita, f"{document.pk}/")
    assert "No &lt;b&gt;." in again
    assert f"Already rejected by {desk.rita.username}." in again
    assert 'data-key="a"' not in again
    submit(document, desk.ana, version, vendor="Acme")
    assert "Changes since" in page(desk, desk.rita, f"{document.pk}/")


def test_adjudication_shows_conflicts_with_evidence_and_creates_gold(desk: Desk) -> None:
    document, second = dispute(desk), dispute(desk)
    shown = page(desk, desk.rita, f"{document.pk}/")
    assert shown.count('<fieldset class="question') == 1
    assert "differ in 1 place<" in shown
    for words in ("Acme Supplies", desk.ana.username, desk.ben.username, 'name="other-0"'):
        assert words in shown
    start = TEXT.index("Acme Supplies")
    for value in ("Acme Supplies", "Acme"):
        assert f'data-start="{start}" data-end="{start + len(value)}"' in shown
    answer = browser(desk.rita).post(at(desk, f"{document.pk}/adjudicate/"), {"version": 2, "pick-0": "1"}, follow=True)
    assert answer.redirect_chain[-1][0] == at(desk, f"{second.pk}/")
    assert Gold.objects.get().revision.value["vendor"] == "Acme"
    assert Review.objects.get().decision == "adjudicate"


def test_reviewer_comments_without_decision(desk: Desk) -> None:
    document = desk.document()
    submit(document, desk.ana)
    rita = browser(desk.rita)
    address = f"/p/{desk.project.slug}/documents/{document.pk}/comment/"
    answer = rita.post(address, {"text": "Which <total>?", "from": "review"}, follow=True)
    assert answer.redirect_chain == [(f"{at(desk, f'{document.pk}/')}#comments", 302)]
    assert "Which &lt;total&gt;?" in answer.content.decode()
    comment = comment_services.threads(document=document)[0]
    rita.post(address, {"settle": comment.pk, "from": "review"})
    assert "Which" not in page(desk, desk.rita, f"{document.pk}/")
    assert fresh(document).state == DocumentState.SUBMITTED
    elsewhere = rita.post(address, {"text": "x", "from": "//evil.example/"})
    assert elsewhere.headers["location"] == f"{document.get_absolute_url()}#comments"


def test_adjudicated_value_can_be_typed(desk: Desk) -> None:
    document = desk.document(f"{TEXT} Of which goods 1,100.00", overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, total_amount=1100)
    address = at(desk, f"{document.pk}/adjudicate/")
    rita = browser(desk.rita)
    for sent, words in (
        ({}, "Choose a value."),
        ({"pick-0": "9"}, "Choose a value."),
        ({"pick-0": "other"}, "Enter a value"),
        ({"pick-0": "other", "other-0": "abc"}, "number"),
        ({"pick-0": "other", "other-0": "USD 9.00"}, "This value is not in the document."),
    ):
        answer = rita.post(address, {"version": 2, **sent})
        assert answer.status_code == 422, sent
        assert words in answer.content.decode()
    assert 'name="sure-0"' in answer.content.decode()
    assert 'value="USD 9.00"' in answer.content.decode()
    assert not Gold.objects.exists()
    done = rita.post(address, {"version": 2, "pick-0": "other", "other-0": "USD 9.00", "sure-0": "on"})
    assert done.status_code == 302
    revision = Gold.objects.get().revision
    assert (str(revision.value["total_amount"]), revision.evidence["total_amount"]["of"]) == ("9.00", "9.00")


def test_absent_can_be_chosen(desk: Desk) -> None:
    document = desk.document(desk.document().text + " PO 77")
    type(document).objects.filter(pk=document.pk).update(overlap=2)
    for user, number in ((desk.ana, "77"), (desk.ben, "PO 77")):
        submit(document, user, purchase_order=number)
    answer = browser(desk.rita).post(at(desk, f"{document.pk}/adjudicate/"), {"version": 2, "pick-0": "nothing"})
    assert answer.status_code == 302
    assert Gold.objects.get().revision.value.get("purchase_order") is None


def test_changed_conflict_is_shown_again(desk: Desk) -> None:
    document = dispute(desk)
    submit(document, desk.ben, 2, vendor="Supplies")
    answer = browser(desk.rita).post(at(desk, f"{document.pk}/adjudicate/"), {"version": 2, "pick-0": "1"}, follow=True)
    assert "A label has changed" in answer.content.decode()
    assert not Gold.objects.exists()
    submit(document, desk.ben, 3)
    over = browser(desk.rita).post(at(desk, f"{document.pk}/adjudicate/"), {"version": 4, "pick-0": "1"}, follow=True)
    assert "no conflict" in over.content.decode()


def test_involved_reviewer_cannot_adjudicate(desk: Desk) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.rita, vendor="Acme")
    shown = page(desk, desk.rita, f"{document.pk}/")
    assert "One of these labels is your own." in shown
    assert "Save decision" not in shown
    answer = browser(desk.rita).post(at(desk, f"{document.pk}/adjudicate/"), {"version": 2, "pick-0": "0"}, follow=True)
    assert "your own" in answer.content.decode()
    assert not Gold.objects.exists()


def test_conflict_can_be_rejected(desk: Desk) -> None:
    document = dispute(desk)
    rita = browser(desk.rita)
    empty = rita.post(at(desk, f"{document.pk}/reject/"), {"version": 2, "reason": ""}, follow=True)
    assert "Enter a reason" in empty.content.decode()
    answer = rita.post(at(desk, f"{document.pk}/reject/"), {"version": 2, "reason": "Both read page 1."}, follow=True)
    assert answer.redirect_chain[-1][0] == at(desk, "?show=disputed")
    assert (fresh(document).disputed, fresh(document).state) == (False, DocumentState.REJECTED)


def test_review_pages_query_count(desk: Desk) -> None:
    for _ in range(5):
        submit(desk.document(), desk.ana)
        dispute(desk)
    rita = browser(desk.rita)
    first = fresh(desk.project.documents.order_by("pk")[0])
    annotation_services.acquire_lock(document=first, user=desk.rita)
    for path, limit in (("", 10), ("?show=disputed", 11), (f"{first.pk}/", 15)):
        with CaptureQueriesContext(connection) as queries:
            assert rita.get(at(desk, path)).status_code == 200
        assert len(queries) <= limit, [query["sql"][:120] for query in queries]


def test_rows_of_some_annotators(db: None) -> None:
    desk = make_desk("invoice-with-lines", slug="lines")
    member(desk, "rita", Role.REVIEWER)
    text = "Invoice A-1 2026-01-14 Acme USD\nPump 1 10.00 10.00\nHose 2 5.00 10.00\nTotal 20.00"
    document = desk.document(text, overlap=2)
    rows = [
        {"description": "Pump", "quantity": 1, "unit_price": 10, "amount": 10},
        {"description": "Hose", "quantity": 2, "unit_price": 5, "amount": 10},
    ]
    compiled = desk.project.schema_version.compiled
    label: dict[str, Any] = {
        "invoice_id": "A-1",
        "date": "2026-01-14",
        "vendor": "Acme",
        "line_items": rows,
        "total_amount": 20,
    }
    assert compiled.validate(label) == []
    options: dict[str, Any] = {"document": document, "evidence": _sure(label, compiled), "base_version": 0}
    annotation_services.submit(user=desk.ana, value=label, **options)
    annotation_services.submit(user=desk.ben, value={**label, "line_items": label["line_items"][1:]}, **options)
    address = at(desk, f"{document.pk}/")
    rita = browser(desk.rita)
    shown = rita.get(address).content.decode()
    assert "row missing in some labels" in shown
    assert ">Keep row<" in shown
    done = rita.post(f"{address}adjudicate/", {"version": 2, "pick-0": "leave out"})
    assert done.status_code == 302
    assert Gold.objects.get().revision.value["line_items"] == label["line_items"][1:]


def _sure(label: dict[str, Any], compiled: Any) -> dict[str, Any]:
    """Every value of the label, confirmed."""
    return {
        path: {"confirmed": True, "of": dumps(value)} for path, _node, value in leaf_values(tree_of(compiled), label)
    }


# -- the home page names the step that the work between people brings --


def steps(desk: Desk, user: User) -> list[NextStep]:
    return next_steps_for(project_for(user, desk.project.slug, Action.READ), user)


def step(desk: Desk, user: User) -> NextStep:
    return steps(desk, user)[0]


def test_next_step_of_reviewer(desk: Desk) -> None:
    for _ in range(2):
        submit(desk.document(), desk.ana)
    review = step(desk, desk.rita)
    assert (review.text.split()[0], review.button, review.url) == ("2", "Review", "/p/desk/review/")
    desk.document()
    assert step(desk, desk.ben).button == "Label"


def test_conflicts_come_after_reviews(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, vendor="Acme")
    adjudicate = step(desk, desk.rita)
    assert (adjudicate.text.split()[0], adjudicate.url) == ("1", "/p/desk/review/?show=disputed")


def test_mentions_come_after_rejections_and_hide_nothing(desk: Desk) -> None:
    document = desk.document()
    submit(document, desk.ana)
    review_services.reject(document=fresh(document), user=desk.rita, reason="no")
    comment_services.add(document=fresh(document), user=desk.rita, text=f"@{desk.ana} see page 2")
    assert [(step.button, step.url) for step in steps(desk, desk.ana)] == [
        ("Correct", "/p/desk/label/"),
        ("Read", "/p/desk/mentions/"),
    ]
