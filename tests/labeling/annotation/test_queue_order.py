"""In which order a person gets documents, and who is assigned to what."""

import pytest
from django.contrib.auth.models import User

from labeling.annotation import queue
from labeling.annotation import services as annotation_services
from labeling.models import Document, DocumentState
from labeling.review import services as review_services
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk
from tests.labeling.work_desk import fresh, review_desk, submit
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return review_desk()


def following(desk: Desk, user: User, after: Document | None = None) -> Document | None:
    return annotation_services.next_document(project=desk.project, user=user, after=after.pk if after else None)


def assign(user: User | None, *documents: Document) -> int:
    rows = Document.objects.filter(pk__in=[document.pk for document in documents])
    return queue.assign(documents=rows, user=user)


def send_back(desk: Desk, document: Document, user: User) -> None:
    submit(document, user)
    review_services.reject(document=fresh(document), user=desk.rita, reason="Look again.")


def test_queue_order(desk: Desk) -> None:
    rest, assigned, begun, sent_back = (desk.document() for _ in range(4))
    assign(desk.ana, assigned)
    annotation_services.save_draft(document=begun, user=desk.ana, value={}, evidence={}, base_version=0)
    send_back(desk, sent_back, desk.ana)
    for document in (sent_back, begun, assigned, rest):
        found = following(desk, desk.ana)
        assert found == document
        Document.objects.filter(pk=document.pk).update(state=DocumentState.SUBMITTED)
    assert following(desk, desk.ana) is None


def test_assigned_document_is_only_in_the_queue_of_its_assignee(desk: Desk) -> None:
    document = desk.document()
    assert assign(desk.ana, document) == 1
    assert following(desk, desk.ben) is None
    assert following(desk, desk.ana) == document
    annotation_services.release_lock(document=document, user=desk.ana)
    assert assign(None, document) == 1
    assert following(desk, desk.ben) == document


def test_assign_accepts_members_and_queued_documents(desk: Desk) -> None:
    waits, done = desk.document(), desk.document()
    submit(done, desk.ben)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "member"):
        assign(desk.stranger, waits)
    assert assign(desk.ana, waits, done) == 1
    assert (fresh(waits).assigned_to, fresh(done).assigned_to) == (desk.ana, None)


def test_draft_of_a_reassigned_document_leaves_my_queue(desk: Desk) -> None:
    document = desk.document()
    annotation_services.save_draft(document=document, user=desk.ana, value={}, evidence={}, base_version=0)
    annotation_services.release_lock(document=document, user=desk.ana)
    assign(desk.ben, document)
    assert following(desk, desk.ana) is None
    assert following(desk, desk.ben) == document


def test_queue_position(desk: Desk) -> None:
    first, second, third, done = (desk.document() for _ in range(4))
    assign(desk.ana, first)
    assign(desk.ben, second)
    submit(done, desk.ben)
    standing = annotation_services.queue_position(document=third, user=desk.ana)
    assert (standing.position, standing.total, standing.left) == (3, 4, 2)
    annotation_services.acquire_lock(document=third, user=desk.ben)
    assert annotation_services.queue_position(document=third, user=desk.ana).left == 1
