"""The queue: who gets which document, locks, skipping, flags."""

import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from labeling.annotation import services as annotation_services
from labeling.models import Document, DocumentState, Membership
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk, gold, make_desk


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return make_desk()


def following(desk: Desk, user: User, after: int | None = None) -> Document | None:
    return annotation_services.next_document(project=desk.project, user=user, after=after)


def test_two_users_get_different_documents(desk: Desk) -> None:
    first, second = desk.document("one"), desk.document("two")
    assert following(desk, desk.ana) == first
    assert following(desk, desk.ben) == second
    assert following(desk, desk.ana) == first
    assert following(desk, desk.ana, first.pk) is None


def test_lock_expires(desk: Desk) -> None:
    document = desk.document("one")
    following(desk, desk.ana)
    Document.objects.update(locked_until=timezone.now() - timedelta(seconds=1))
    assert following(desk, desk.ben) == document
    assert annotation_services.acquire_lock(document=document, user=desk.ana) == desk.ben
    annotation_services.release_lock(document=document, user=desk.ana)
    assert annotation_services.acquire_lock(document=document, user=desk.ana) == desk.ben
    annotation_services.release_lock(document=document, user=desk.ben)
    assert annotation_services.acquire_lock(document=document, user=desk.ana) is None


def test_queue_continues_after_a_document_and_wraps(desk: Desk) -> None:
    first, second, third = (desk.document(text) for text in ("one", "two", "three"))
    assert following(desk, desk.ana, first.pk) == second
    assert following(desk, desk.ana, third.pk) == first
    assert following(desk, desk.ana, second.pk) == third


def test_own_drafts_come_first(desk: Desk) -> None:
    desk.document("one")
    second = desk.document("two")
    annotation_services.save_draft(document=second, user=desk.ana, value={}, evidence={}, base_version=0)
    assert following(desk, desk.ana) == second


def test_submitted_and_skipped_documents_are_not_in_the_queue(desk: Desk) -> None:
    done, skipped, rejected = desk.document(), desk.document("two"), desk.document("three")
    annotation_services.submit(document=done, user=desk.ana, value=gold(), evidence={}, base_version=0)
    annotation_services.skip(document=skipped, user=desk.ana, reason="blank page")
    Document.objects.filter(pk=rejected.pk).update(state=DocumentState.REJECTED)
    assert following(desk, desk.ben) == rejected
    assert following(desk, desk.ben, rejected.pk) is None


def test_concurrent_users_get_different_documents(desk: Desk) -> None:
    for number in range(12):
        desk.document(f"text {number}")
    users = [make_desk(slug=f"more-{number}").ana for number in range(10)]
    Membership.objects.bulk_create(Membership(project=desk.project, user=user, role="annotator") for user in users)
    start = threading.Barrier(len(users))
    taken: list[int] = []

    def work(user: User) -> None:
        try:
            start.wait(10)
            document = following(desk, user)
            if document is not None:
                taken.append(document.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(user,)) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) == len(set(taken)) == 10


def test_the_previous_document(desk: Desk) -> None:
    first, second, third = (desk.document(text) for text in ("one", "two", "three"))
    annotation_services.acquire_lock(document=second, user=desk.ben)
    back = annotation_services.previous_document(project=desk.project, user=desk.ana, before=third.pk)
    assert back == first
    assert annotation_services.previous_document(project=desk.project, user=desk.ana, before=first.pk) is None


def test_queue_position(desk: Desk) -> None:
    first, second, third = (desk.document(text) for text in ("one", "two", "three"))
    annotation_services.acquire_lock(document=second, user=desk.ben)
    annotation_services.acquire_lock(document=third, user=desk.ben)
    annotation_services.acquire_lock(document=second, user=desk.ben)
    standing = annotation_services.queue_position(document=first, user=desk.ana)
    assert (standing.position, standing.total, standing.left) == (1, 3, 1)
    assert [(other.name, other.document) for other in standing.others] == [(desk.ben.username, second.external_id)]


def test_skip_needs_a_reason_and_an_unsubmitted_document(desk: Desk) -> None:
    document = desk.document()
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "reason"):
        annotation_services.skip(document=document, user=desk.ana, reason="  ")
    annotation_services.skip(document=document, user=desk.ana, reason="blank\n page")
    document.refresh_from_db()
    assert (document.state, document.skip_reason) == (DocumentState.SKIPPED, "blank page")
    annotation_services.submit(document=document, user=desk.ana, value=gold(), evidence={}, base_version=0)
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
