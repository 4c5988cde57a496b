"""Several people label one document, each unseen by the others: who gets it, what counts, adjudication."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.annotation import queue
from labeling.annotation import services as annotation_services
from labeling.documents import bulk_edit
from labeling.jobs import run_bulk_edit
from labeling.models import Annotation, DocumentState, Gold, Membership, Origin, Review
from labeling.projects import members
from labeling.review import adjudication
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from slmstudio.access import Forbidden, Role
from slmstudio.contract.schema.compiled import dumps
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk, gold, pre_label
from tests.labeling.work_desk import change, fresh, member, review_desk, submit
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    desk = review_desk(review_required=False)
    member(desk, "cleo")
    return desk


def following(desk: Desk, user: User, after: int | None = None) -> Any:
    return annotation_services.next_document(project=desk.project, user=user, after=after)


def dispute(desk: Desk, **changes: Any) -> Any:
    """A document that Ana and Ben labelled differently."""
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, **(changes or {"vendor": "Acme"}))
    return document


def test_overlap_gives_a_document_to_each_annotator_once(desk: Desk) -> None:
    document = desk.document(overlap=2)
    assert following(desk, desk.ana) == document
    assert following(desk, desk.ben) is None  # while Ana has it open
    saved = submit(document, desk.ana)
    assert (saved.submitted, saved.state, fresh(document).state) == (True, "in_progress", "in_progress")
    assert not Gold.objects.exists()
    assert following(desk, desk.ana) is None
    assert following(desk, desk.ben) == document
    assert submit(document, desk.ben).state == "submitted"
    assert [following(desk, user) for user in (desk.ana, desk.ben, desk.cleo)] == [None] * 3


def test_overlap_hides_labels_of_others(desk: Desk) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana, vendor="Acme")
    opened = annotation_services.open_document(document=fresh(document), user=desk.ben)
    assert (opened.is_blind, opened.value, opened.version, opened.author) == (True, {}, 0, None)
    draft = annotation_services.save_draft(
        document=document, user=desk.ben, value={"vendor": "Acme Supplies"}, evidence={}, base_version=0
    )
    assert (draft.value, draft.merged, draft.conflicts) == ({"vendor": "Acme Supplies"}, [], [])
    own = annotation_services.open_document(document=fresh(document), user=desk.ana)
    assert own.value["vendor"] == "Acme"
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "independent"):
        annotation_services.restore(
            document=document,
            user=desk.ben,
            revision_id=Annotation.objects.get(user=desk.ana).revisions.get().pk,
            base_version=draft.version,
        )


def test_equal_labels_become_gold(desk: Desk) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, invoice_id="a-1029")
    assert (fresh(document).disputed, Gold.objects.get().revision.annotation.user) == (False, desk.ben)
    change(desk, review_required=True)
    waits = desk.document(overlap=2)
    submit(waits, desk.ana)
    submit(waits, desk.ben)
    assert Gold.objects.count() == 1
    assert list(review_queries.pending_review(desk.project).order_by("pk")) == [document, waits]


def test_conflicting_labels_wait_for_adjudication_until_they_are_equal(desk: Desk) -> None:
    document = dispute(desk)
    now = fresh(document)
    assert (now.state, now.disputed, Gold.objects.count()) == (DocumentState.SUBMITTED, True, 0)
    assert list(review_queries.pending_adjudication(desk.project)) == [document]
    assert not review_queries.pending_review(desk.project).exists()
    with pytest.raises(review_services.ConflictingChange, match="labels conflict"):
        review_services.approve(document=now, user=desk.rita, base_version=2)
    saved = submit(document, desk.ben, 2)
    assert (saved.submitted, fresh(document).disputed, Gold.objects.count()) == (True, False, 1)


def test_adjudicated_label_is_gold(desk: Desk) -> None:
    document = dispute(desk)
    opened = adjudication.open_adjudication(document=fresh(document), user=desk.rita)
    assert [label.annotation.user for label in opened.labels] == [desk.ana, desk.ben]
    resolution = opened.resolve({"vendor": "Acme"})
    conflicts = [(conflict.path, [vote.value for vote in conflict.votes]) for conflict in resolution.conflicts]
    assert conflicts == [("vendor", ["Acme Supplies", "Acme"])]
    review = adjudication.adjudicate(
        document=fresh(document),
        user=desk.rita,
        value=resolution.value,
        evidence=opened.evidence(resolution),
        base_version=opened.version,
    )
    final = Gold.objects.get()
    assert (review.decision, final.approved_by, final.origin) == ("adjudicate", desk.rita, Origin.HUMAN)
    assert (final.revision.value["vendor"], final.revision.action) == ("Acme", "adjudicate")
    assert final.revision.evidence["vendor"]["end"] - final.revision.evidence["vendor"]["start"] == 4
    now = fresh(document)
    assert (now.state, now.disputed) == (DocumentState.APPROVED, False)
    # From now on it is one label, seen by everybody, and a later one does not count for the agreement.
    assert annotation_services.open_document(document=now, user=desk.ana).value["vendor"] == "Acme"
    submit(document, desk.ben, 3)
    agreement = {field.field.pattern: field for field in review_queries.project_agreement(desk.project)}
    assert (agreement["vendor"].units, agreement["vendor"].exact) == (1, 0)


def test_adjudicated_pre_labels_stay_pre_labeled(desk: Desk) -> None:
    change(desk, withheld_share=0, review_required=True)
    proposals = {}
    other: list[dict[str, Any]] = [{}, {"vendor": "Acme"}]
    for changes in other:
        document = desk.document(overlap=2)
        pre_label(document, dumps(gold()))
        submit(document, desk.ana)
        submit(document, desk.ben, **changes)
        proposals[document] = bool(changes)
        # From now on it is hidden from everyone, including the reviewer.
        type(document).objects.filter(pk=document.pk).update(holdout=True)
    options: dict[str, Any] = {"user": desk.rita, "value": gold(), "evidence": {}, "base_version": 2}
    for document, differ in proposals.items():
        decide = adjudication.adjudicate if differ else review_services.approve
        decide(document=fresh(document), **options)
    assert list(Gold.objects.values_list("origin", flat=True)) == [Origin.PRELABELLED] * 2


def test_four_eyes_excludes_involved_reviewer(desk: Desk) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.rita, vendor="Acme")
    assert adjudication.open_adjudication(document=fresh(document), user=desk.rita).refusal == adjudication.OWN_LABEL
    assert adjudication.next_to_adjudicate(project=desk.project, user=desk.rita) is None
    options: dict[str, Any] = {"value": gold(), "evidence": {}, "base_version": 2}
    with pytest.raises(Refused, match="Four-eyes"):
        adjudication.adjudicate(document=fresh(document), user=desk.rita, **options)
    assert adjudication.next_to_adjudicate(project=desk.project, user=desk.owner) == document
    with pytest.raises(Forbidden):
        adjudication.adjudicate(document=fresh(document), user=desk.cleo, **options)
    assert adjudication.adjudicate(document=fresh(document), user=desk.owner, **options)


def test_unseen_or_invalid_label_is_not_adjudicated(desk: Desk) -> None:
    document = dispute(desk)
    with pytest.raises(review_services.ConflictingChange):
        adjudication.adjudicate(document=fresh(document), user=desk.rita, value=gold(), evidence={}, base_version=1)
    for value, rule in (({**gold(), "total_amount": "12"}, "type"), ({**gold(), "vendor": "Globex"}, "evidence")):
        with pytest.raises(review_services.InvalidLabel) as refused:
            adjudication.adjudicate(document=fresh(document), user=desk.rita, value=value, evidence={}, base_version=2)
        assert refused.value.problems[0].rule == rule
    assert (fresh(document).disputed, Gold.objects.count(), Review.objects.count()) == (True, 0, 0)


def test_rejected_conflict_is_labeled_again(desk: Desk) -> None:
    document = dispute(desk)
    review_services.reject(document=fresh(document), user=desk.rita, reason="Read the second page.")
    now = fresh(document)
    assert (now.state, now.disputed, now.assigned_to) == (DocumentState.REJECTED, False, None)
    assert following(desk, desk.cleo) is None
    for user in (desk.ana, desk.ben):
        assert following(desk, user) == document
        opened = annotation_services.open_document(document=fresh(document), user=user)
        assert opened.rejection is not None
        submit(document, user, opened.version)
        assert annotation_services.open_document(document=fresh(document), user=user).rejection is None
        annotation_services.release_lock(document=document, user=user)
    assert (fresh(document).state, Gold.objects.count()) == (DocumentState.SUBMITTED, 1)


@pytest.mark.parametrize("action", ["rejected", "drafted", "left first"])
def test_former_member_frees_an_overlap_place(desk: Desk, action: str) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    ana = Membership.objects.get(project=desk.project, user=desk.ana)
    if action == "drafted":
        annotation_services.save_draft(
            document=fresh(document), user=desk.ana, value=gold(), evidence={}, base_version=1
        )
    else:
        submit(document, desk.ben)
        if action == "left first":
            members.remove(membership=ana, by=desk.owner)
        review_services.reject(document=fresh(document), user=desk.rita, reason="Read the second page.")
    if action != "left first":
        members.remove(membership=ana, by=desk.owner)
    submit(document, desk.ben, 2 if action != "drafted" else 0)
    assert following(desk, desk.ben) is None
    assert following(desk, desk.cleo) == document
    submit(document, desk.cleo)
    assert (fresh(document).state, Gold.objects.count()) == (DocumentState.SUBMITTED, 1)


def test_requeued_document_returns_to_its_annotators(desk: Desk) -> None:
    document = dispute(desk)
    bulk_edit.change_one(document=fresh(document), user=desk.owner, action="requeue", params={})
    now = fresh(document)
    assert (now.state, now.disputed) == (DocumentState.IN_PROGRESS, False)
    for user in (desk.ana, desk.ben):
        assert following(desk, user) == document
        submit(document, user, annotation_services.open_document(document=fresh(document), user=user).version)
    assert (fresh(document).state, Gold.objects.count()) == (DocumentState.SUBMITTED, 1)


def test_undo_of_requeue_restores_labels(desk: Desk, queues: None) -> None:
    document, other = dispute(desk), dispute(desk)
    edit = bulk_edit.start(project=desk.project, user=desk.owner, action="requeue", params={}, query="")
    run_bulk_edit(edit.pk)
    edit.refresh_from_db()
    annotation_services.save_draft(document=fresh(other), user=desk.ben, value=gold(), evidence={}, base_version=2)
    run_bulk_edit(bulk_edit.undo(edit=edit, user=desk.owner).pk)
    assert list(review_queries.pending_adjudication(desk.project).order_by("pk")) == [document, other]
    submitted = Annotation.objects.filter(submitted=True).values_list("document", "user")
    # Ben has begun something new on the other one: that is a draft and stays one.
    assert set(submitted) == {(document.pk, desk.ana.pk), (document.pk, desk.ben.pk), (other.pk, desk.ana.pk)}


def test_assigned_overlap_continues_with_others(desk: Desk) -> None:
    document = desk.document(overlap=2)
    rows = type(document).objects.filter(project=desk.project)
    queue.assign(documents=rows, user=desk.ana)
    assert following(desk, desk.ben) is None
    submit(document, desk.ana)
    assert (following(desk, desk.ana), following(desk, desk.ben)) == (None, document)


def test_agreement_of_a_project(desk: Desk) -> None:
    assert review_queries.project_agreement(desk.project) == []
    changed: list[dict[str, Any]] = [{}, {"vendor": "Acme"}, {"invoice_id": "a-1029"}]
    for changes in changed:
        document = desk.document(overlap=2)
        submit(document, desk.ana)
        submit(document, desk.ben, **changes)
    submit(desk.document(), desk.ana)
    agreement = {field.field.pattern: field for field in review_queries.project_agreement(desk.project)}
    assert {field.units for field in agreement.values()} == {3}
    assert agreement["vendor"].exact == pytest.approx(2 / 3)
    assert agreement["invoice_id"].exact == 1


def test_any_role_can_annotate(desk: Desk) -> None:
    engineer = member(desk, "eve", Role.ENGINEER)
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    # Among several, a reviewer's label is one like any other.
    saved = submit(document, engineer, vendor="Acme")
    assert (saved.approved, fresh(document).disputed) == (False, True)
