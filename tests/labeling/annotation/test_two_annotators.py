"""People at work at the same moment, over real connections: one decision counts, and nothing is lost."""

import random
from functools import partial
from typing import Any

import pytest
from django.utils import timezone

from labeling import jobs
from labeling.annotation import queue
from labeling.annotation import services as annotation_services
from labeling.documents import bulk_edit
from labeling.models import Annotation, AnnotationRevision, BulkEdit, Document, DocumentState, Gold, Review
from labeling.review import adjudication
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from slmstudio.access import Role
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk, gold
from tests.labeling.work_desk import at_once, change, fresh, member, review_desk, submit

ROUNDS = 3


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return review_desk()


def test_concurrent_submits_of_one_document(desk: Desk) -> None:
    change(desk, review_required=False)
    for _ in range(ROUNDS):
        document = desk.document()
        results = at_once(
            partial(submit, document, desk.ana, vendor="Acme"),
            partial(submit, document, desk.ben),
        )
        assert sorted(saved.submitted for saved in results) == [False, True]
        assert sorted(saved.version for saved in results) == [1, 2]
        loser = next(saved for saved in results if not saved.submitted)
        assert [clash.path for clash in loser.conflicts] == ["vendor"]
        revisions = AnnotationRevision.objects.filter(annotation__document=document)
        assert sorted(revision.value["vendor"] for revision in revisions) == ["Acme", "Acme Supplies"]
        winner = next(revision for revision in revisions if revision.number == 1)
        assert Gold.objects.get(document=document).revision == winner


def test_an_approval_and_a_new_submit(desk: Desk) -> None:
    outcomes = set()
    for _ in range(ROUNDS * 2):
        document = desk.document()
        first = submit(document, desk.ana)
        approved, again = at_once(
            partial(review_services.approve, document=fresh(document), user=desk.rita, base_version=first.version),
            partial(submit, document, desk.ana, first.version, vendor="Acme"),
        )
        assert again.submitted
        now = fresh(document)
        assert now.state == DocumentState.SUBMITTED  # the new label waits either way
        golds = Gold.objects.filter(document=document)
        if isinstance(approved, review_services.ConflictingChange):
            assert not golds.exists()
        else:
            assert golds.get().revision.value["vendor"] == "Acme Supplies"
        assert list(review_queries.pending_review(desk.project)).count(document) == 1
        outcomes.add(type(approved).__name__)
    assert outcomes <= {"Review", "ConflictingChange"}


def test_two_reviewers_decide(desk: Desk) -> None:
    for _ in range(ROUNDS):
        document = desk.document()
        version = submit(document, desk.ana).version
        results = at_once(
            partial(review_services.approve, document=fresh(document), user=desk.rita, base_version=version),
            partial(review_services.reject, document=fresh(document), user=desk.owner, reason="no"),
        )
        assert sorted(type(result).__name__ for result in results) == ["ConflictingChange", "Review"]
        [review] = Review.objects.filter(document=document)
        approved = review.decision == "approve"
        assert fresh(document).state == (DocumentState.APPROVED if approved else DocumentState.REJECTED)
        assert Gold.objects.filter(document=document).exists() == approved


def test_conflict_is_adjudicated_once(desk: Desk) -> None:
    for _ in range(ROUNDS):
        document = desk.document(overlap=2)
        submit(document, desk.ana)
        submit(document, desk.ben, vendor="Acme")
        options: dict[str, Any] = {"evidence": {}, "base_version": 2}
        results = at_once(
            partial(adjudication.adjudicate, document=fresh(document), user=desk.rita, value=gold(), **options),
            partial(
                adjudication.adjudicate,
                document=fresh(document),
                user=desk.owner,
                value={**gold(), "vendor": "Acme"},
                **options,
            ),
        )
        assert sorted(type(result).__name__ for result in results) == ["ConflictingChange", "Review"]
        assert Review.objects.filter(document=document).count() == 1
        won = next(result for result in results if isinstance(result, Review))
        assert Gold.objects.get(document=document).revision == won.revision


def test_concurrent_last_labels_with_overlap(desk: Desk) -> None:
    change(desk, review_required=False)
    for _ in range(ROUNDS):
        document = desk.document(overlap=2)
        results = at_once(partial(submit, document, desk.ana), partial(submit, document, desk.ben, vendor="Acme"))
        assert [saved.submitted for saved in results] == [True, True]
        assert sorted(saved.state for saved in results) == ["in_progress", "submitted"]
        now = fresh(document)
        assert (now.state, now.disputed) == (DocumentState.SUBMITTED, True)


def test_concurrent_drafts_lose_nothing(desk: Desk) -> None:
    document = desk.document()

    def work(user: Any, name: str) -> None:
        version = 0
        value: dict[str, str] = {}
        for number in range(4):
            value = {**value, name: f"{name} {number}"}
            saved = annotation_services.save_draft(
                document=document, user=user, value=value, evidence={}, base_version=version
            )
            version, value = saved.version, saved.value

    fields = {"vendor": desk.ana, "invoice_id": desk.ben, "purchase_order": desk.owner}
    assert at_once(*(partial(work, user, name) for name, user in fields.items())) == [None] * 3
    assert sorted(AnnotationRevision.objects.values_list("number", flat=True)) == list(range(1, 13))
    newest = Annotation.objects.order_by("-version")[0]
    assert newest.value == {name: f"{name} 3" for name in fields}


def test_locked_document_is_not_given_to_another_user(desk: Desk) -> None:
    people = [member(desk, f"worker{number}") for number in range(6)]
    for number in range(20):
        desk.document(f"{number} of many", overlap=2 if number % 5 == 0 else 1)
    Document.objects.filter(external_id="doc-0003").update(assigned_to=people[0])
    done: dict[Any, list[int]] = {person: [] for person in people}

    def work(person: Any) -> None:
        after = None
        for _ in range(25):
            document = annotation_services.next_document(project=desk.project, user=person, after=after)
            if document is None:
                return
            done[person].append(document.pk)
            Document.objects.filter(pk=document.pk, locked_by=person).update(
                state=DocumentState.SUBMITTED if document.overlap == 1 else DocumentState.IN_PROGRESS
            )
            if document.overlap > 1:
                annotation_services.submit(
                    document=document, user=person, value=gold(), evidence=_sure(), base_version=0
                )
            after = document.pk

    assert [result for result in at_once(*[partial(work, person) for person in people]) if result] == []
    given = [pk for own in done.values() for pk in own]
    overlap = dict(Document.objects.values_list("pk", "overlap"))
    assert all(given.count(pk) == number for pk, number in overlap.items())
    assert all(len(own) == len(set(own)) for own in done.values())
    third = Document.objects.get(external_id="doc-0003")
    assert [person for person, own in done.items() if third.pk in own] == [people[0]]


def _sure() -> dict[str, Any]:
    """The label of another text, confirmed value by value."""
    texts = {"invoice_id": '"A-1029"', "date": '"2026-01-14"', "vendor": '"Acme Supplies"', "total_amount": "1248.50"}
    return {path: {"confirmed": True, "of": text} for path, text in texts.items()}


def test_expired_lock_is_acquired_once(desk: Desk) -> None:
    for _ in range(ROUNDS):
        document = desk.document()
        annotation_services.acquire_lock(document=document, user=desk.ana)
        Document.objects.filter(pk=document.pk).update(locked_until=timezone.now())
        results = at_once(
            partial(annotation_services.next_document, project=desk.project, user=desk.ben),
            partial(annotation_services.next_document, project=desk.project, user=desk.owner),
        )
        assert sorted(result is None for result in results) == [False, True]
        holder = fresh(document).locked_by
        assert holder is not None
        assert holder in (desk.ben, desk.owner)
        # Ana returns: she is warned, and her save is merged with the newer one.
        assert annotation_services.acquire_lock(document=document, user=desk.ana) == holder
        annotation_services.save_draft(
            document=document, user=holder, value={"vendor": "Acme"}, evidence={}, base_version=0
        )
        late = annotation_services.save_draft(
            document=document, user=desk.ana, value={"invoice_id": "A-1029"}, evidence={}, base_version=0
        )
        assert late.value == {"invoice_id": "A-1029", "vendor": "Acme"}
        Document.objects.filter(pk=document.pk).update(state=DocumentState.SUBMITTED)


def test_reviewers_get_different_labels(desk: Desk) -> None:
    reviewers = [desk.rita, desk.owner, *(member(desk, f"rev{number}", Role.REVIEWER) for number in range(4))]
    for _ in range(6):
        submit(desk.document(), desk.ana)
    taken = at_once(*[partial(review_services.next_to_review, project=desk.project, user=p) for p in reviewers])
    given = [document.pk for document in taken if document is not None]
    assert len(given) == len(set(given)) >= 5


def test_assigning_and_submitting(desk: Desk) -> None:
    for _ in range(ROUNDS):
        document = desk.document()
        rows = Document.objects.filter(pk=document.pk)
        saved, changed = at_once(
            partial(submit, document, desk.ana), partial(queue.assign, documents=rows, user=desk.ben)
        )
        now = fresh(document)
        assert (saved.submitted, now.state) == (True, DocumentState.SUBMITTED)
        assert changed == (now.assigned_to_id is not None)


def test_requeue_and_approve(desk: Desk) -> None:
    for _ in range(ROUNDS):
        document = desk.document()
        version = submit(document, desk.ana).version
        approved, _back = at_once(
            partial(review_services.approve, document=fresh(document), user=desk.rita, base_version=version),
            partial(bulk_edit.change_one, document=fresh(document), user=desk.owner, action="requeue", params={}),
        )
        # The second one saw the result of the first.
        assert fresh(document).state == DocumentState.IN_PROGRESS
        assert Gold.objects.filter(document=document).exists() == isinstance(approved, Review)


def test_concurrent_bulk_edits_lose_nothing(desk: Desk, queues: None) -> None:
    documents = [desk.document() for _ in range(10)]
    ids = [document.pk for document in documents]

    def tag(name: str) -> BulkEdit:
        edit = bulk_edit.start(project=desk.project, user=desk.owner, action="tag", params={"tags": [name]}, ids=ids)
        jobs.run_bulk_edit(edit.pk)
        edit.refresh_from_db()
        return edit

    first, second, *saved = at_once(
        partial(tag, "ocr_noise"),
        partial(tag, "cut_off"),
        *(partial(submit, document, desk.ana) for document in documents[:4]),
    )
    assert [(edit.status, edit.changed) for edit in (first, second)] == [("done", 10)] * 2
    assert [result.submitted for result in saved] == [True] * 4
    for document in documents:
        assert sorted(fresh(document).tags) == ["cut_off", "ocr_noise"]
    undo = bulk_edit.undo(edit=first, user=desk.owner)
    jobs.run_bulk_edit(undo.pk)
    undo.refresh_from_db()
    # What the other change did since is kept: a document that it came to later is left as it is.
    assert undo.changed + undo.left_alone == 10
    assert all("cut_off" in fresh(document).tags for document in documents)


def test_random_steps_keep_the_state_consistent(desk: Desk) -> None:
    """People submit, send back and approve in any order; gold is always what a reviewer approved last."""
    document = desk.document()
    chance = random.Random(7)

    def annotator(person: Any) -> None:
        for _ in range(8):
            opened = annotation_services.open_document(document=fresh(document), user=person)
            value = {**gold(), "vendor": chance.choice(["Acme", "Acme Supplies"])}
            annotation_services.submit(
                document=document, user=person, value=value, evidence={}, base_version=opened.version
            )

    def reviewer(person: Any) -> None:
        for step in range(8):
            version = review_services.open_review(document=fresh(document), user=person).version
            try:
                if step % 3 == 0:
                    review_services.reject(document=document, user=person, reason="no", base_version=version)
                else:
                    review_services.approve(document=document, user=person, base_version=version)
            except Refused:
                continue

    results = at_once(lambda: annotator(desk.ana), lambda: annotator(desk.ben), lambda: reviewer(desk.rita))
    assert results == [None, None, None]
    last = Review.objects.filter(document=document, decision="approve").order_by("pk").last()
    golds = [gold.revision for gold in Gold.objects.filter(document=document)]
    assert golds == ([last.revision] if last is not None else [])
    numbers = list(AnnotationRevision.objects.values_list("number", flat=True))
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
