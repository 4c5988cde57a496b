"""The queue: who gets which document and in which order, locks, assignments, skipping, tags."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labeling.annotation import queue
from labeling.annotation import services as annotation_services
from labeling.models import Document, DocumentState
from labeling.review import services as review_services
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk
from tests.labeling.work_desk import fresh, review_desk, submit
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    return review_desk()


def following(desk: Desk, user: User, after: Document | None = None) -> Document | None:
    return annotation_services.next_document(project=desk.project, user=user, after=after.pk if after else None)


def assign(user: User | None, *documents: Document) -> int:
    rows = Document.objects.filter(pk__in=[document.pk for document in documents])
    return queue.assign(documents=rows, user=user)


def test_two_users_get_different_documents_until_a_lock_expires(desk: Desk) -> None:
    first, second = desk.document("one"), desk.document("two")
    assert following(desk, desk.ana) == first
    assert following(desk, desk.ben) == second
    assert following(desk, desk.ana) == first
    assert following(desk, desk.ana, first) is None
    Document.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
    assert following(desk, desk.ben) == first
    assert annotation_services.acquire_lock(document=first, user=desk.ana) == desk.ben
    annotation_services.release_lock(document=first, user=desk.ana)
    assert annotation_services.acquire_lock(document=first, user=desk.ana) == desk.ben
    annotation_services.release_lock(document=first, user=desk.ben)
    assert annotation_services.acquire_lock(document=first, user=desk.ana) is None


def test_next_and_previous_document(desk: Desk) -> None:
    first, second, third = (desk.document(text) for text in ("one", "two", "three"))
    assert following(desk, desk.ana, first) == second
    assert following(desk, desk.ana, third) == first, "the queue wraps"
    assert following(desk, desk.ana, second) == third
    annotation_services.release_lock(document=second, user=desk.ana)
    annotation_services.acquire_lock(document=second, user=desk.ben)
    previous = annotation_services.previous_document
    assert previous(project=desk.project, user=desk.ana, before=third.pk) == first
    assert previous(project=desk.project, user=desk.ana, before=first.pk) is None


def test_order_is_rejected_then_begun_then_assigned_then_other_documents(desk: Desk) -> None:
    other, assigned, begun, rejected = (desk.document() for _ in range(4))
    assign(desk.ana, assigned)
    annotation_services.save_draft(document=begun, user=desk.ana, value={}, evidence={}, base_version=0)
    submit(rejected, desk.ana)
    review_services.reject(document=fresh(rejected), user=desk.rita, reason="Look again.")
    for document in (rejected, begun, assigned, other):
        assert following(desk, desk.ana) == document
        Document.objects.filter(pk=document.pk).update(state=DocumentState.SUBMITTED)
    assert following(desk, desk.ana) is None


def test_submitted_and_skipped_documents_are_not_in_the_queue(desk: Desk) -> None:
    done, skipped, rejected = desk.document(), desk.document("two"), desk.document("three")
    submit(done, desk.ana)
    annotation_services.skip(document=skipped, user=desk.ana, reason="blank page")
    Document.objects.filter(pk=rejected.pk).update(state=DocumentState.REJECTED)
    assert following(desk, desk.ben) == rejected
    assert following(desk, desk.ben, rejected) is None


def test_assigned_document_is_only_in_the_queue_of_its_assignee(desk: Desk) -> None:
    document, done = desk.document(), desk.document()
    submit(done, desk.ben)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "member"):
        assign(desk.stranger, document)
    assert assign(desk.ana, document, done) == 1
    assert (fresh(document).assigned_to, fresh(done).assigned_to) == (desk.ana, None)
    assert following(desk, desk.ben) is None
    assert following(desk, desk.ana) == document
    annotation_services.save_draft(document=document, user=desk.ana, value={}, evidence={}, base_version=0)
    annotation_services.release_lock(document=document, user=desk.ana)
    assign(desk.ben, document)
    assert following(desk, desk.ana) is None, "a draft does not keep it"
    assert following(desk, desk.ben) == document
    annotation_services.release_lock(document=document, user=desk.ben)
    assert assign(None, document) == 1
    assert following(desk, desk.ana) == document


def test_queue_position(desk: Desk) -> None:
    first, second, third, done = (desk.document() for _ in range(4))
    assign(desk.ana, first)
    assign(desk.ben, second)
    submit(done, desk.ben)
    standing = annotation_services.queue_position(document=third, user=desk.ana)
    assert (standing.position, standing.total, standing.left) == (3, 4, 2)
    for document in (second, third, second):
        annotation_services.acquire_lock(document=document, user=desk.ben)
    standing = annotation_services.queue_position(document=third, user=desk.ana)
    assert standing.left == 1
    assert [(other.name, other.document) for other in standing.others] == [(desk.ben.username, second.external_id)]


def test_skip_needs_a_reason_and_an_unsubmitted_document(desk: Desk) -> None:
    document = desk.document()
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "reason"):
        annotation_services.skip(document=document, user=desk.ana, reason="  ")
    annotation_services.skip(document=document, user=desk.ana, reason="blank\n page")
    document.refresh_from_db()
    assert (document.state, document.skip_reason) == (DocumentState.SKIPPED, "blank page")
    submit(document, desk.ana)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "submitted"):
        annotation_services.skip(document=document, user=desk.ana, reason="no")
    document.refresh_from_db()
    assert (document.state, document.skip_reason) == (DocumentState.SUBMITTED, "")


def test_tags_are_in_the_vocabulary_or_imported(desk: Desk) -> None:
    document = desk.document(tags=["from the import", "ocr_noise"])
    tags = annotation_services.flag(
        document=document, user=desk.ana, tags=["several_totals", "ocr_noise", "from the import"]
    )
    assert tags == ["ocr_noise", "several_totals", "from the import"]
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "tag"):
        annotation_services.flag(document=document, user=desk.ana, tags=["made up"])
    document.refresh_from_db()
    assert document.tags == tags
