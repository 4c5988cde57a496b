"""The submit button names what a submit does: it submits, submits again, or approves."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from labeling.models import Document
from labeling.review import services as review_services
from tests.labeling.label_desk import Desk
from tests.labeling.work_desk import change, fresh, member, review_desk, submit
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return review_desk()


def approves(document: Document, user: User) -> bool:
    """The state of the screen when this user opens the document."""
    client = Client()
    client.force_login(user)
    return bool(client.get(reverse("label_state", args=["desk", document.pk])).json()["approves"])


def test_rejected_label_is_approved_by_reviewer_and_submitted_by_author(desk: Desk) -> None:
    document = desk.document()
    base = submit(document, desk.ana).version
    review_services.reject(document=fresh(document), user=desk.rita, reason="The total is wrong.")
    assert not approves(document, desk.ana)
    assert approves(document, desk.rita)
    assert submit(document, desk.rita, base).approved


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"review_required": True}, False),
        ({"review_required": False}, False),
        ({"review_required": False, "four_eyes": False}, True),
    ],
)
def test_reviewer_submits_over_own_approved_label(desk: Desk, settings: dict[str, bool], expected: bool) -> None:
    document = desk.document()
    base = submit(document, desk.rita).version
    member(desk, "eve", "reviewer")
    review_services.approve(document=fresh(document), user=desk.eve, base_version=base)  # type: ignore[attr-defined]
    change(desk, **settings)
    assert approves(document, desk.rita) is expected
    assert submit(document, desk.rita, base).approved is expected


def test_label_with_overlap_approves_nothing(desk: Desk) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    assert not approves(document, desk.rita)
    assert not submit(document, desk.rita).approved
