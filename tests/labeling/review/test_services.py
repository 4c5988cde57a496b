"""Reviews: what waits for whom, and what a decision leaves."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.annotation import services as annotation_services
from labeling.integrations import events, webhooks
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    Membership,
    Origin,
    Review,
    WebhookDelivery,
)
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from slmstudio.access import Action, Forbidden, Role, authorize
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk, change_schema, gold
from tests.labeling.work_desk import change, fresh, member, submit


def listen(desk: Desk) -> None:
    webhooks.create(project=desk.project, user=desk.owner, url="https://93.184.216.34/hook", events=list(events.EVENTS))
    desk.project.refresh_from_db()


def statements(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in queries if not query["sql"].startswith(("SAVEPOINT", "RELEASE"))]


def test_approved_label_is_gold(desk: Desk) -> None:
    document = desk.document()
    saved = submit(document, desk.ana)
    assert (saved.submitted, saved.approved, saved.state) == (True, False, "submitted")
    assert list(review_queries.pending_review(desk.project)) == [document]
    assert not Gold.objects.exists()
    review = review_services.approve(document=fresh(document), user=desk.rita, base_version=saved.version)
    label = Gold.objects.get()
    assert (label.approved_by, label.origin, label.revision.action) == (desk.rita, Origin.HUMAN, "submit")
    assert (review.decision, review.annotation.user, review.revision) == ("approve", desk.ana, label.revision)
    assert fresh(document).state == DocumentState.APPROVED
    assert not review_queries.pending_review(desk.project).exists()


def test_rejected_label_returns_to_its_author(desk: Desk) -> None:
    first, document = desk.document("one"), desk.document()
    submit(document, desk.ana)
    review_services.reject(document=fresh(document), user=desk.rita, reason="The vendor is\n Acme  Supplies Ltd.")
    now = fresh(document)
    assert (now.state, now.assigned_to, now.locked_by) == (DocumentState.REJECTED, desk.ana, None)
    opened = annotation_services.open_document(document=now, user=desk.ana)
    assert opened.rejection is not None
    assert (opened.rejection.reason, opened.rejection.reviewer) == ("The vendor is\nAcme Supplies Ltd.", desk.rita)
    annotation_services.release_lock(document=now, user=desk.ana)
    # First in her queue, although another has a lower id, and in no other queue.
    assert annotation_services.next_document(project=desk.project, user=desk.ana) == document
    annotation_services.release_lock(document=now, user=desk.ana)
    assert annotation_services.next_document(project=desk.project, user=desk.ben) == first
    again = submit(document, desk.ana, opened.version, vendor="Acme")
    assert again.submitted
    assert annotation_services.open_document(document=fresh(document), user=desk.ana).rejection is None
    assert list(review_queries.pending_review(desk.project)) == [document]


def test_rejected_label_of_former_member_goes_to_anyone(desk: Desk) -> None:
    document = desk.document()
    submit(document, desk.ana)
    Membership.objects.filter(user=desk.ana).delete()
    typed = "\r\n Two things:\r\n\r\n\r\n-  the  date\x00\r\n- the total \r\n"
    review = review_services.reject(document=fresh(document), user=desk.rita, reason=typed)
    assert review.reason == "Two things:\n\n- the date\n- the total"
    assert fresh(document).assigned_to is None
    assert annotation_services.next_document(project=desk.project, user=desk.ben) == document


def test_four_eyes_forbids_own_review(desk: Desk) -> None:
    document = desk.document()
    saved = submit(document, desk.rita)
    assert saved.approved is False
    opened = review_services.open_review(document=fresh(document), user=desk.rita)
    assert opened.refusal == review_services.OWN_LABEL
    for decide in (
        lambda: review_services.approve(document=fresh(document), user=desk.rita, base_version=saved.version),
        lambda: review_services.reject(document=fresh(document), user=desk.rita, reason="no"),
    ):
        with pytest.raises(Refused, check=lambda refusal: refusal.code == "own_label"):
            decide()
    assert fresh(document).state == DocumentState.SUBMITTED
    assert review_services.next_to_review(project=desk.project, user=desk.rita) is None
    assert review_services.next_to_review(project=desk.project, user=desk.owner) == document
    change(desk, four_eyes=False)
    assert review_services.approve(document=fresh(document), user=desk.rita, base_version=saved.version)


def test_only_reviewers_decide(desk: Desk) -> None:
    document = desk.document()
    saved = submit(document, desk.ana)
    for user in (desk.ben, desk.stranger, member(desk, "mia", Role.MANAGER)):
        with pytest.raises(Forbidden):
            review_services.approve(document=fresh(document), user=user, base_version=saved.version)
    assert not Gold.objects.exists()


def test_unseen_version_is_not_approved(desk: Desk) -> None:
    document = desk.document()
    first = submit(document, desk.ana)
    submit(document, desk.ana, first.version, vendor="Acme")
    with pytest.raises(review_services.ConflictingChange):
        review_services.approve(document=fresh(document), user=desk.rita, base_version=first.version)
    with pytest.raises(review_services.ConflictingChange):
        review_services.reject(document=fresh(document), user=desk.rita, reason="no", base_version=first.version)
    now = fresh(document)
    assert (now.state, Gold.objects.count(), Review.objects.count()) == (DocumentState.SUBMITTED, 0, 0)


def test_later_draft_does_not_prevent_approval(desk: Desk) -> None:
    document = desk.document()
    first = submit(document, desk.ana)
    annotation_services.save_draft(document=document, user=desk.ana, value={}, evidence={}, base_version=first.version)
    opened = review_services.open_review(document=fresh(document), user=desk.rita)
    assert (opened.version, opened.revision and opened.revision.value["vendor"]) == (first.version, "Acme Supplies")
    review_services.approve(document=fresh(document), user=desk.rita, base_version=first.version)
    assert Gold.objects.get().revision.value["vendor"] == "Acme Supplies"


def test_second_decision_is_refused(desk: Desk) -> None:
    document = desk.document()
    saved = submit(document, desk.ana)
    review_services.approve(document=fresh(document), user=desk.rita, base_version=saved.version)
    with pytest.raises(review_services.ConflictingChange):
        review_services.approve(document=fresh(document), user=desk.owner, base_version=saved.version)
    assert Review.objects.count() == 1
    with pytest.raises(review_services.ConflictingChange, match="the document is new"):
        review_services.approve(document=desk.document("two"), user=desk.rita, base_version=0)
    gone = desk.document("three")
    pk = gone.pk
    gone.delete()
    gone.pk = pk
    with pytest.raises(review_services.ConflictingChange):
        review_services.approve(document=gone, user=desk.rita, base_version=0)


def test_a_reviewer_fixes_and_approves_in_one_step(desk: Desk) -> None:
    document = desk.document()
    version = submit(document, desk.ana, vendor="Acme").version

    def approve(**changes: Any) -> Review:
        value = {**gold(), **changes}
        return review_services.approve(document=fresh(document), user=desk.rita, base_version=version, value=value)

    for changes, rule in (({"total_amount": "12"}, "type"), ({"vendor": "Globex"}, "evidence")):
        with pytest.raises(review_services.InvalidLabel) as refused:
            approve(**changes)
        assert refused.value.problems[0].rule == rule
        assert (fresh(document).state, Gold.objects.count()) == (DocumentState.SUBMITTED, 0)
    review = approve()
    label = Gold.objects.get()
    assert (review.decision, label.approved_by) == ("fix", desk.rita)
    assert (label.revision.value["vendor"], label.revision.action) == ("Acme Supplies", "approve")
    assert Annotation.objects.get(user=desk.ana).value["vendor"] == "Acme"


def test_a_reviewers_submit_on_the_labeling_screen_approves(desk: Desk) -> None:
    document = desk.document()
    first = submit(document, desk.ana, vendor="Acme")
    fixed = submit(document, desk.rita, first.version)
    assert (fixed.approved, fixed.state, fresh(document).state) == (True, "approved", "approved")
    assert Review.objects.get().decision == "fix"
    other = desk.document("x " + document.text)
    first = submit(other, desk.ana)
    assert submit(other, desk.rita, first.version).approved
    assert Review.objects.get(document=other).decision == "approve"


def test_submit_after_approval_needs_review(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document()
    first = submit(document, desk.ana)
    assert Gold.objects.get().approved_by is None
    assert not review_queries.pending_review(desk.project).exists()
    review_services.approve(document=fresh(document), user=desk.rita, base_version=first.version)
    again = submit(document, desk.ana, first.version, vendor="Acme")
    assert (again.submitted, again.state) == (True, "submitted")
    assert Gold.objects.get().revision.value["vendor"] == "Acme Supplies"
    assert list(review_queries.pending_review(desk.project)) == [document]
    review_services.approve(document=fresh(document), user=desk.rita, base_version=again.version)
    assert Gold.objects.get().revision.value["vendor"] == "Acme"


def test_undo_restores_the_gold_label_before(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document()
    first = submit(document, desk.ana)
    submitted = Gold.objects.values().get()
    review = review_services.approve(document=fresh(document), user=desk.rita, base_version=first.version)
    assert Gold.objects.values().get() != submitted
    review_services.undo_approval(review=review, user=desk.rita)
    assert Gold.objects.values().get() == submitted
    assert fresh(document).state == DocumentState.SUBMITTED
    # A submit counts at once again, as before the approval.
    submit(document, desk.ana, first.version, vendor="Acme")
    assert Gold.objects.get().revision.value["vendor"] == "Acme"


@pytest.mark.parametrize("since", ["submit", "challenge", "late", "other", "fix"])
def test_an_approval_that_others_built_on_stays(desk: Desk, since: str) -> None:
    document, user = desk.document(), desk.rita
    version = submit(document, desk.ana).version
    more: dict[str, Any] = {"value": {**gold(), "vendor": "Acme Supplies"}} if since == "fix" else {}
    review = review_services.approve(document=fresh(document), user=desk.rita, base_version=version, **more)
    if since == "submit":
        submit(document, desk.ana, version, vendor="Acme")
    elif since == "challenge":
        Document.objects.filter(pk=document.pk).update(state=DocumentState.SUBMITTED, disputed=True)
    elif since == "late":
        review.created_at -= review_queries.RECENT
    elif since == "other":
        user = member(desk, "cleo", Role.REVIEWER)
    before = fresh(document).state
    with pytest.raises(Refused):
        review_services.undo_approval(review=review, user=user)
    assert fresh(document).state == before
    assert Gold.objects.get().approved_by == desk.rita
    assert Review.objects.filter(pk=review.pk).exists()


def test_reviewers_get_different_labels_in_turn(desk: Desk) -> None:
    first, second, third = (desk.document() for _ in range(3))
    for document in (first, second, third):
        submit(document, desk.ana)
    take = review_services.next_to_review
    assert take(project=desk.project, user=desk.rita) == first
    assert take(project=desk.project, user=desk.owner) == second
    assert take(project=desk.project, user=desk.rita, after=first.pk) == third
    assert take(project=desk.project, user=desk.rita, after=third.pk) == first


def test_label_of_older_schema_cannot_be_reviewed(desk: Desk) -> None:
    document = desk.document()
    saved = submit(document, desk.ana)
    change_schema(desk.project, desk.owner, note={"type": "string"})
    assert not review_queries.pending_review(desk.project).exists()
    assert "in progress" in review_services.open_review(document=fresh(document), user=desk.rita).refusal
    with pytest.raises(Refused, match="no label to review"):
        review_services.approve(document=fresh(document), user=desk.rita, base_version=saved.version)
    assert annotation_services.next_document(project=desk.project, user=desk.ana) == document
    again = submit(document, desk.ana)
    assert review_services.approve(document=fresh(document), user=desk.rita, base_version=again.version)


def test_own_change_of_approved_label_needs_review(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document()
    submit(document, desk.rita)
    review_services.approve(document=fresh(document), user=desk.owner, base_version=1)
    changed = submit(document, desk.rita, 1, vendor="Acme")
    assert (changed.approved, fresh(document).state) == (False, DocumentState.SUBMITTED)
    assert Gold.objects.get().revision.value["vendor"] == "Acme Supplies"
    assert list(review_queries.pending_review(desk.project)) == [document]
    change(desk, four_eyes=False)
    assert submit(document, desk.rita, 2, vendor="Acme Supplies").approved


def test_decisions_emit_events(desk: Desk) -> None:
    listen(desk)
    document = desk.document()
    submit(document, desk.ana)
    review_services.reject(document=fresh(document), user=desk.rita, reason="secret words")
    second = submit(document, desk.ana, 1, vendor="Acme")
    review = review_services.approve(document=fresh(document), user=desk.rita, base_version=second.version)
    review_services.undo_approval(review=review, user=desk.rita)
    emitted = list(WebhookDelivery.objects.order_by("created_at"))
    assert [(delivery.event, delivery.payload["user"]) for delivery in emitted] == [
        ("document.submitted", desk.ana.username),
        ("document.rejected", desk.rita.username),
        ("document.submitted", desk.ana.username),
        ("document.approved", desk.rita.username),
        ("document.approval_undone", desk.rita.username),
    ]
    assert "secret words" not in str(emitted[1].payload)


def test_history_keeps_every_step(desk: Desk) -> None:
    document = desk.document()
    version = submit(document, desk.ana, vendor="Acme").version
    review_services.reject(document=fresh(document), user=desk.rita, reason="Supplies")
    annotation_services.save_draft(document=document, user=desk.ana, value=gold(), evidence={}, base_version=version)
    last = submit(document, desk.ana, 2)
    review_services.approve(document=fresh(document), user=desk.rita, base_version=last.version)
    steps = AnnotationRevision.objects.order_by("number").values_list("number", "action", "user")
    assert list(steps) == [(1, "submit", desk.ana.pk), (2, "draft", desk.ana.pk), (3, "submit", desk.ana.pk)]
    assert list(Review.objects.order_by("pk").values_list("decision", flat=True)) == ["reject", "approve"]


def test_save_query_count(desk: Desk) -> None:
    listen(desk)
    document = desk.document()
    first = submit(document, desk.ana, vendor="Acme")
    project = desk.project
    authorize(project, desk.rita, Role.REVIEWER, Action.REVIEW)  # as a view fetches it
    given: dict[str, Any] = {"document": fresh(document), "evidence": {}, "schema_number": 1}
    given["document"].project = project
    with CaptureQueriesContext(connection) as fix:
        assert annotation_services.submit(user=desk.rita, value=gold(), base_version=first.version, **given).approved
    assert len(statements(fix)) <= 9, "\n".join(statements(fix))  # a label stands there: is it doubted?
    change(desk, review_required=False)
    plain = desk.document()
    with CaptureQueriesContext(connection) as submitted:
        submit(plain, desk.ana)
    # Two are the test's own: the document, and the role, which a view knows.
    assert len(statements(submitted)) <= 9, "\n".join(statements(submitted))
    shared = desk.document(overlap=2)
    given["document"] = fresh(shared)
    with CaptureQueriesContext(connection) as overlap:
        annotation_services.submit(user=desk.ana, value=gold(), base_version=0, **given)
    assert len(statements(overlap)) <= 9, "\n".join(statements(overlap))  # the role too
    third = desk.document()
    third.project = project
    saved = submit(third, desk.ana)
    with CaptureQueriesContext(connection) as approved:
        review_services.approve(document=third, user=desk.rita, base_version=saved.version)
    assert len(statements(approved)) <= 8, "\n".join(statements(approved))
