"""Service accounts have tokens and no password, and approve nothing."""

import pytest
from django.test import Client

from evaluation.models import AuditEntry
from labeling.integrations import tokens
from labeling.models import ApiToken, Membership
from labeling.projects import members, service_accounts
from slmstudio.access import Forbidden, Role
from slmstudio.errors import Refused
from tests.labeling.label_desk import Desk, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def ci(desk: Desk) -> Membership:
    return service_accounts.create(project=desk.project, by=desk.owner, name="ci", role=Role.ENGINEER)


def test_an_owner_creates_its_token_and_the_log_names_it(desk: Desk, ci: Membership, servers: object) -> None:
    owner = Client()
    owner.force_login(desk.owner)
    made = {"account": ci.pk, "name": "runner", "scopes": ["read", "train"], "days": 90}
    page = owner.post("/p/desk/tokens/", made)
    token = ApiToken.objects.get()
    assert token.user == ci.user
    assert tokens.authenticate(page.context["secret"]) == token
    assert AuditEntry.objects.order_by("-pk")[0].details["account"] == "desk.ci"
    members.remove(membership=ci, by=desk.owner)
    assert tokens.authenticate(page.context["secret"]) is None
    ci.user.refresh_from_db()
    assert not ci.user.is_active
    sent = {"login": "desk.ci", "password": ""}
    assert "_auth_user_id" not in Client().post("/login/", sent).wsgi_request.session


@pytest.mark.parametrize("role", [Role.MANAGER, Role.OWNER])
def test_it_never_approves(desk: Desk, ci: Membership, role: str) -> None:
    with pytest.raises(Refused) as refused:
        service_accounts.create(project=desk.project, by=desk.owner, name="boss", role=role)
    assert refused.value.field == "role"
    with pytest.raises(Refused):
        members.change_role(membership=ci, by=desk.owner, role=role)


@pytest.mark.parametrize("name", ["", "CI", "-ci", "a b", "x" * 41, "ci"])
def test_names(desk: Desk, ci: Membership, name: str) -> None:
    with pytest.raises(Refused) as refused:
        service_accounts.create(project=desk.project, by=desk.owner, name=name, role=Role.ENGINEER)
    assert refused.value.field == "name"


def test_nobody_else_creates_its_tokens(desk: Desk, ci: Membership) -> None:
    with pytest.raises(Forbidden):
        tokens.create(project=desk.project, user=ci.user, by=desk.ana, name="x", scopes=["read"], days=1)
    with pytest.raises(Refused):  # nor an owner those of a member
        tokens.create(project=desk.project, user=desk.ana, by=desk.owner, name="x", scopes=["read"], days=1)
    ana = Client()
    ana.force_login(desk.ana)
    assert ana.get(f"/p/desk/tokens/?account={ci.pk}").status_code == 404
    with pytest.raises(Forbidden):
        service_accounts.create(project=desk.project, by=desk.ana, name="other", role=Role.ANNOTATOR)
