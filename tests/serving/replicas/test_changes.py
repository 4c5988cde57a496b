"""Gateways look tokens up again as soon as a token or a member changes, whatever the audit log calls it."""

from collections.abc import Callable
from typing import Any

import pytest

from labeling.integrations import tokens
from labeling.models import Membership
from labeling.projects import members
from serving.replicas import changes
from tests.labeling.desk import Desk, make_desk, person
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    calls: list[str] = []
    monkeypatch.setattr(changes, "announce", lambda: calls.append("changed"))
    return calls


def test_changes_of_tokens_and_members_are_announced(
    desk: Desk, announced: list[str], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    owner, project = desk.people["owner"], desk.project
    person("nora")

    def announces(change: Callable[[], Any]) -> Any:
        announced.clear()
        with django_capture_on_commit_callbacks(execute=True):
            result = change()
        assert announced
        return result

    token, _ = announces(lambda: tokens.create(project=project, user=owner, name="a", scopes=["read"], days=None))
    announces(lambda: tokens.revoke(token=token, user=owner))
    nora = announces(lambda: members.add(project=project, by=owner, username="nora", role="engineer"))
    announces(lambda: members.change_role(membership=nora, by=owner, role="annotator"))
    announces(lambda: members.remove(membership=Membership.objects.get(pk=nora.pk), by=owner))


def test_other_changes_are_not_announced(
    desk: Desk, announced: list[str], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        members.change_settings(project=desk.project, by=desk.people["owner"], values={"extra_tags": ["token torn"]})
    assert not announced
