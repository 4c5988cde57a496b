"""A document's page: marked text, label, proposals, comments, history, and what is changed from there."""

import html
import re
from typing import Any

from labeling.annotation import services as annotation_services
from labeling.annotation.diffs import SESSION, document_history, history_steps
from labeling.comments import services as comment_services
from labeling.form.highlights import highlight
from labeling.form.tree import tree_of
from labeling.models import (
    AnnotationRevision,
    BulkEdit,
    Comment,
    Document,
    DocumentScore,
    DocumentState,
    Page,
    Prediction,
)
from labeling.review import services as review_services
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    made = make_desk()
    bring_in(made.project, [invoice(1), invoice(2, gold=False)])
    return made


def document(number: int) -> Document:
    return Document.objects.select_related("project").get(external_id=f"inv-{number:04}")


def page(desk: Desk, number: int, role: str = "owner") -> str:
    return desk.as_(role).get(desk.url(f"documents/{document(number).pk}/")).content.decode()


def propose(desk: Desk, number: int, **more: Any) -> Prediction:
    value = {**invoice(number)["gold"], "vendor": "Akme"}
    return Prediction.objects.create(
        **{
            "document": document(number),
            "schema_version": desk.project.schema_version,
            "value": value,
            "valid": True,
            "model": "tiny model",
            "source": "prelabel-1",
            **more,
        }
    )


def test_gold_values_and_metadata_are_displayed(desk: Desk) -> None:
    Document.objects.filter(pk=document(1).pk).update(metadata={"items": 3, "batch": "spring"})
    shown = page(desk, 1)
    assert re.search(r'title="Vendor"\s*>Acme Supplies</mark>', shown)
    assert re.search(r'title="Invoice date"\s*>2026-01-14</mark>', shown)
    assert '<dt class="wrap-anywhere">items</dt><dd>3</dd>' in shown  # also the name of a method of dictionaries


def test_text_is_shown_with_its_own_blanks_only(desk: Desk) -> None:
    [inner] = re.findall(r'<pre class="document-text">(.*?)</pre>', page(desk, 1), re.DOTALL)
    assert html.unescape(re.sub(r"<[^>]*>", "", inner)) == document(1).text


def test_draft_is_shown_as_draft(desk: Desk) -> None:
    value, user = {"vendor": "Acme Supplies"}, desk.people["annotator"]
    annotation_services.save_draft(document=document(2), user=user, value=value, evidence={}, base_version=0)
    shown = page(desk, 2)
    assert "a draft of desk-annotator" in shown
    assert "not gold" in shown
    assert re.search(r'title="Vendor"\s*>Acme Supplies</mark>', shown)


def test_highlights_keep_all_characters(desk: Desk) -> None:
    node = tree_of(desk.project.schema_version.compiled)
    text = "<b>Acme</b> 🙂 Acme"
    evidence = {
        "vendor": {"start": 3, "end": 7},
        "date": {"start": 5, "end": 12},
        "invoice_id": {"start": 3, "end": 5},
        "nowhere": {"start": 14, "end": 15},
        "a": {"start": -1, "end": 3},
        "b": {"start": 4, "end": 4},
        "c": {"start": 0, "end": 99},
        "d": {"start": "0", "end": 3},
        "e": "text",
        "f": {"confirmed": True},
    }
    marked = highlight(text, evidence, node)
    assert "".join(piece.text for piece in marked.pieces) == text
    assert [(piece.title, piece.text) for piece in marked.pieces if piece.title] == [
        ("Vendor", "Acme"),
        ("nowhere", "A"),
    ]
    assert {key.title for key in marked.keys} == {"Vendor", "nowhere"}


def test_predictions_are_compared_with_the_label(desk: Desk) -> None:
    propose(desk, 1)
    propose(desk, 1, source="prelabel-2", value=None, valid=False, raw="no <JSON> at all")
    shown = page(desk, 1)
    assert "tiny model" in shown
    assert "1 of 4 fields differs from the label" in shown
    assert "<del>Akme</del>" in shown
    assert "no &lt;JSON&gt; at all" in shown


def test_overlap_shows_own_label_and_compares_with_own_revisions(desk: Desk) -> None:
    Document.objects.filter(external_id="inv-0002").update(overlap=2)

    def submit(role: str, **changes: Any) -> None:
        value, evidence = {**invoice(2)["gold"], **changes}, {"vendor": {"confirmed": True, "of": '"Akme"'}}
        user = desk.people[role]
        annotation_services.submit(document=document(2), user=user, value=value, evidence=evidence, base_version=0)

    submit("reviewer", vendor="Akme")
    shown = page(desk, 2, "annotator")
    assert "label this document independently" in shown
    assert "Not labeled yet" in shown
    assert "desk-reviewer</strong> submitted" not in shown
    assert "desk-reviewer</strong> submitted" in page(desk, 2, "owner")
    submit("annotator")
    steps = document_history(document(2))
    written = [(str(step.revision.user), {change.path: change.old for change in step.changes}) for step in steps]
    everything_new = dict.fromkeys(invoice(2)["gold"])
    assert written == [("desk-annotator", everything_new), ("desk-reviewer", everything_new)]


def test_drafts_are_part_of_the_submit_that_follows(desk: Desk) -> None:
    annotator, reviewer = desk.people["annotator"], desk.people["reviewer"]
    value, version = invoice(2)["gold"], 0

    def save(user: Any, **changes: Any) -> None:
        nonlocal version
        saved = annotation_services.save_draft(
            document=document(2), user=user, value={**value, **changes}, evidence={}, base_version=version
        )
        version = saved.version

    for vendor in ("A", "Ac", "Acme"):
        save(annotator, vendor=vendor)
    annotation_services.submit(document=document(2), user=annotator, value=value, evidence={}, base_version=version)
    save(reviewer, vendor="Akme")
    revisions = list(AnnotationRevision.objects.of(document(2)).order_by("-pk"))
    revisions[-1].created_at -= 2 * SESSION
    steps = history_steps(revisions, has_overlap=False)
    assert [(step.revision.user, step.revision.action, step.saves) for step in steps] == [
        (reviewer, "draft", 1),
        (annotator, "submit", 3),
        (annotator, "draft", 1),  # of another session
    ]
    assert [change.path for change in steps[1].changes] == ["vendor"]
    assert steps[1].changes[0].old == "A"


def test_score_pages_and_reviews_are_there(desk: Desk) -> None:
    desk.project.review_required = True
    desk.project.save(update_fields=["review_required"])
    saved = annotation_services.submit(
        document=document(2), user=desk.people["annotator"], value=invoice(2)["gold"], evidence={}, base_version=0
    )
    review_services.reject(
        document=document(2), user=desk.people["reviewer"], base_version=saved.version, reason="the <total> is net"
    )
    scored = document(2)
    DocumentScore.objects.create(
        document=scored, project=desk.project, score=0.75, wrong_fields=["vendor"], source="evaluation 7"
    )
    Page.objects.create(document=scored, number=1, image_key="pages/1.png", width=600, height=800, start=0, end=10)
    Document.objects.filter(pk=scored.pk).update(page_count=1, disputed=True)
    shown = page(desk, 2)
    for text in ("75% field accuracy", "evaluation 7", ">Conflict<", 'width="600" height="800"', "No user"):
        assert text in shown
    assert "rejected it" in shown
    assert "the &lt;total&gt; is net" in shown


# -- changes -----------------------------------------------------------------------------------------------------------


def change(desk: Desk, number: int, role: str = "engineer", **data: str) -> Any:
    return desk.as_(role).post(desk.url(f"documents/{document(number).pk}/change/"), data, follow=True)


def test_document_is_assigned_moved_requeued_and_tagged(desk: Desk) -> None:
    change(desk, 2, action="assign", user="desk-annotator")
    assert document(2).assigned_to == desk.people["annotator"]
    change(desk, 2, action="holdout")
    assert document(2).holdout
    change(desk, 1, action="requeue")
    assert document(1).state == DocumentState.IN_PROGRESS
    assert not BulkEdit.objects.exists()
    url, client = desk.url(f"documents/{document(1).pk}/tags/"), desk.as_("annotator")
    client.post(url, {"tags": ["ocr_noise", "cut_off"]})
    assert set(document(1).tags) == {"ocr_noise", "cut_off"}
    assert "nonsense" in client.post(url, {"tags": ["nonsense"]}, follow=True).content.decode()
    client.post(url, {})
    assert document(1).tags == []


def test_comments_are_added_and_resolved(desk: Desk) -> None:
    url = desk.url(f"documents/{document(1).pk}/comment/")
    client = desk.as_("annotator")
    answer = client.post(url, {"text": "Is this <b>one</b> invoice? @desk-reviewer"})
    assert answer["Location"].endswith("#comments")
    comment = Comment.objects.get()
    assert "Is this &lt;b&gt;one&lt;/b&gt; invoice?" in page(desk, 1)
    assert comment_services.unread_count(project=desk.project, user=desk.people["reviewer"]) == 1
    desk.as_("reviewer").post(url, {"settle": str(comment.pk)})
    assert "resolved by desk-reviewer" in page(desk, 1)
    assert "Enter a comment" in client.post(url, {"text": "  "}, follow=True).content.decode()
    for wrong in ("x", "-1", "9" * 40, "²", str(comment.pk + 1)):
        assert client.post(url, {"settle": wrong}).status_code == 404
