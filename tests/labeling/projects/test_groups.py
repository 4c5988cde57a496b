"""Groups at the company's provider give roles and take them."""

import pytest
from django.contrib.auth.models import User

from evaluation.models import AuditEntry
from labeling.models import Membership
from labeling.projects import groups, members
from slmstudio.access import Forbidden, Role
from slmstudio.errors import Refused
from slmstudio.models import OidcAccount
from tests.labeling.label_desk import Desk, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def nora(desk: Desk) -> User:
    """Someone with two groups at the provider."""
    user = User.objects.create_user("nora")
    OidcAccount.objects.create(user=user, groups=["label", "ml"])
    return user


def give(desk: Desk, group: str, role: str) -> None:
    groups.add(project=desk.project, by=desk.owner, group=group, role=role)


def role_of(user: User) -> str | None:
    return Membership.objects.filter(user=user).values_list("role", flat=True).first()


def test_a_new_group_counts_at_once_and_the_one_with_more_permissions_wins(desk: Desk, nora: User) -> None:
    give(desk, "label", Role.ANNOTATOR)
    assert role_of(nora) == Role.ANNOTATOR
    give(desk, "ml", Role.ENGINEER)
    assert role_of(nora) == Role.ENGINEER
    groups.remove(row=desk.project.group_roles.get(group="ml"), by=desk.owner)
    assert role_of(nora) == Role.ANNOTATOR
    groups.remove(row=desk.project.group_roles.get(), by=desk.owner)
    assert role_of(nora) is None
    assert AuditEntry.objects.filter(about="member nora").count() == 4


def test_a_role_that_was_given_by_hand_stays(desk: Desk, nora: User) -> None:
    members.add(project=desk.project, by=desk.owner, username="nora", role=Role.MANAGER)
    give(desk, "ml", Role.ENGINEER)
    groups.apply_groups(nora, ["ml"])
    groups.apply_groups(nora, [])
    assert role_of(nora) == Role.MANAGER


def test_a_role_of_a_group_that_is_changed_by_hand_stays(desk: Desk, nora: User) -> None:
    give(desk, "ml", Role.ENGINEER)
    members.change_role(membership=Membership.objects.get(user=nora), by=desk.owner, role=Role.REVIEWER)
    groups.apply_groups(nora, [])
    assert role_of(nora) == Role.REVIEWER


@pytest.mark.parametrize(
    ("group", "role", "field"),
    [
        ("ml", Role.MANAGER, "group"),  # it has a role
        ("others", Role.OWNER, "role"),
        ("others", "king", "role"),
        (" ", Role.ENGINEER, "group"),
        ("x" * 201, Role.ENGINEER, "group"),
        ("a\nb", Role.ENGINEER, "group"),
    ],
)
def test_what_a_group_cannot_have(desk: Desk, nora: User, group: str, role: str, field: str) -> None:
    give(desk, "ml", Role.ENGINEER)
    with pytest.raises(Refused) as refused:
        give(desk, group, role)
    assert refused.value.field == field
    assert role_of(nora) == Role.ENGINEER


def test_only_owners_give_groups_a_role(desk: Desk) -> None:
    with pytest.raises(Forbidden):
        groups.add(project=desk.project, by=desk.ana, group="ml", role=Role.MANAGER)
