"""Invitations work once, for a while, and only while their sender is an owner."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from evaluation.models import AuditEntry
from labeling.models import Invitation, Membership
from labeling.projects import invitations, members
from slmstudio.access import Forbidden, Role
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def secret(desk: Desk) -> str:
    return invitations.invite(project=desk.project, by=desk.owner, role=Role.REVIEWER)[1]


def use_up(desk: Desk) -> None:
    Invitation.objects.update(accepted_at=timezone.now(), accepted_by=desk.ben)


def expire(desk: Desk) -> None:
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))


def revoke(desk: Desk) -> None:
    invitations.revoke(invitation=Invitation.objects.get(), by=desk.owner)


def demote(desk: Desk) -> None:
    other = members.add(project=desk.project, by=desk.owner, username=desk.stranger.username, role=Role.OWNER)
    owner = Membership.objects.get(project=desk.project, user=desk.owner)
    members.change_role(membership=owner, by=other.user, role=Role.ENGINEER)


def test_it_adds_a_member_once(desk: Desk, secret: str) -> None:
    assert invitations.accept(secret=secret, user=desk.stranger).role == Role.REVIEWER
    with pytest.raises(Refused) as refused:
        invitations.accept(secret=secret, user=desk.stranger)
    assert refused.value.code == "used"
    logged = AuditEntry.objects.order_by("-pk").values_list("action", "user__username")
    assert logged[0] == ("accepted", desk.stranger.username)


@pytest.mark.parametrize(
    ("change", "code"), [(use_up, "used"), (expire, "expired"), (revoke, "revoked"), (demote, "sender")]
)
def test_one_that_has_ended_is_refused(desk: Desk, secret: str, change: Any, code: str) -> None:
    change(desk)
    before = Membership.objects.count()
    with pytest.raises(Refused) as refused:
        invitations.accept(secret=secret, user=get_user_model().objects.create_user("nora"))
    assert refused.value.code == code
    assert not invitations.is_valid(secret)
    page = Client()
    assert page.get(f"/invitations/{secret}/").status_code == 410
    assert Membership.objects.count() == before


@pytest.mark.parametrize("secret", ["unknown", "x" * 5_000, "%00"])
def test_an_unknown_one_is_refused(desk: Desk, secret: str) -> None:
    assert Client().get(f"/invitations/{secret}/").status_code == 410
    assert not invitations.is_valid(secret)


def test_a_member_stays_what_they_are(desk: Desk, secret: str) -> None:
    with pytest.raises(Refused) as refused:
        invitations.accept(secret=secret, user=desk.ana)
    assert refused.value.code == "member"
    assert Invitation.objects.open().exists()


def test_only_owners_invite(desk: Desk) -> None:
    with pytest.raises(Forbidden):
        invitations.invite(project=desk.project, by=desk.ana, role=Role.OWNER)
    for values, field in (({"role": "king"}, "role"), ({"role": "owner", "email": "no address"}, "email")):
        with pytest.raises(Refused) as refused:
            invitations.invite(project=desk.project, by=desk.owner, **values)
        assert refused.value.field == field


def test_no_account_is_created_without_an_invitation(desk: Desk, servers: Any, secret: str) -> None:
    sent = {"username": "nora", "password1": "correct horse battery"}
    client = Client()
    client.post("/signup/", sent)
    assert not get_user_model().objects.filter(username="nora").exists()
    client.get(f"/invitations/{secret}/")
    revoke(desk)  # while the page is open
    client.post("/signup/", sent)
    assert not get_user_model().objects.filter(username="nora").exists()
