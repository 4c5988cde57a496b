"""The administration pages do not write project data; accounts are managed with restrictions."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from evaluation.models import AuditEntry
from labeling.models import Membership, Project
from labeling.projects.services import create_project
from slmstudio.access import Role
from slmstudio.models import OidcAccount
from tests.shared_rows import shared_fixture

ACCOUNTS = (User, Group, Authenticator)


@shared_fixture
def root(db: None) -> Any:
    return User.objects.create_superuser("root", password="x")


@shared_fixture
def helper(db: None) -> Any:
    """A user who may manage accounts and is no superuser."""
    made = User.objects.create_user("helper", password="x", is_staff=True)
    made.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))
    return made


@shared_fixture
def project(root: Any) -> Project:
    owner, mona = User.objects.create_user("olga", password="x"), User.objects.create_user("mona", password="x")
    return create_project(
        owner=owner, name="Guarded", slug="guarded", template="invoice", members={mona: Role.ANNOTATOR}
    )


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def address(model: Any, *parts: object) -> str:
    return "/".join(("/admin", model._meta.app_label, model._meta.model_name, *map(str, parts), ""))


@pytest.mark.parametrize("model", [m for m in admin.site._registry if m not in ACCOUNTS], ids=lambda m: m.__name__)
def test_admin_cannot_write_project_data(model: Any, root: Any) -> None:
    client = client_of(root)
    page = admin.site._registry[model]
    assert client.get(address(model)).status_code == 200
    assert client.post(address(model, "add"), {}).status_code == 403
    assert set(page.get_actions(client.get(address(model)).wsgi_request)) <= {"download"}
    request = client.get(address(model)).wsgi_request
    assert not any((page.has_add_permission(request), page.has_change_permission(request)))
    assert not page.has_delete_permission(request)
    for inline in page.get_inline_instances(request):
        assert not inline.has_add_permission(request, None)
        assert not inline.has_change_permission(request, None)
        assert not inline.has_delete_permission(request, None)


def test_admin_lists_our_apps_without_queues() -> None:
    shown = {model._meta.app_label for model in admin.site._registry}
    assert shown == {"admin", "auth", "slmstudio", "labeling", "training", "evaluation", "mfa"}


def test_a_superuser_cannot_change_projects_or_roles(root: Any, project: Project) -> None:
    client, row = client_of(root), Membership.objects.get(project=project, user__username="mona")
    sent = {
        "name": "Changed", "slug": "guarded", "overlap_people": "2", "four_eyes": "",
        "memberships-TOTAL_FORMS": "1", "memberships-INITIAL_FORMS": "1", "memberships-MIN_NUM_FORMS": "0",
        "memberships-MAX_NUM_FORMS": "1000", "memberships-0-id": row.pk, "memberships-0-project": project.pk,
        "memberships-0-user": row.user_id, "memberships-0-role": "manager",
    }  # fmt: skip
    client.post(address(Project, project.pk, "change"), sent)
    client.post(address(Project, project.pk, "delete"), {"post": "yes"})
    client.post(address(Project), {"action": "delete_selected", "_selected_action": project.pk, "post": "yes"})
    project.refresh_from_db()
    row.refresh_from_db()
    assert (project.name, project.four_eyes, row.role) == ("Guarded", True, Role.ANNOTATOR)


def account(user: User, **changes: object) -> dict[str, object]:
    return {"username": user.username, "is_active": "on", **changes}


def test_a_superuser_manages_accounts_and_does_not_delete_them(root: Any) -> None:
    client, ana = client_of(root), User.objects.create_user("ana", password="x")
    client.post(address(User, ana.pk, "change"), account(ana, is_staff="on"))
    ana.refresh_from_db()
    assert ana.is_staff
    client.post(address(User, ana.pk, "delete"), {"post": "yes"})
    assert User.objects.filter(pk=ana.pk).exists()


def link_in(response: Any) -> str:
    """The path of the link in the messages of a page."""
    [text] = [str(message) for message in response.context["messages"] if "http" in str(message)]
    return "/" + text.rpartition("http://")[2].partition("/")[2]


def test_an_administrator_gives_a_link_and_knows_no_password(root: Any) -> None:
    client = client_of(root)
    sent = {"username": "nora", "password1": "Swordfish-19", "password2": "Swordfish-19"}
    first = link_in(client.post(address(User, "add"), sent, follow=True))
    nora = User.objects.get(username="nora")
    assert not nora.has_usable_password()
    assert not [*client.get(address(User, nora.pk, "password")).context["messages"]]
    second = link_in(client.post(address(User, nora.pk, "password"), follow=True))
    for link, is_valid in ((first, True), (first, False), (second, False)):
        person = Client()
        form = person.get(link, follow=True)
        answer = person.post(form.redirect_chain[-1][0] if form.redirect_chain else link, new("correct horse battery"))
        assert (answer.status_code == 302) == is_valid
        assert "_auth_user_id" not in person.session
    nora.refresh_from_db()
    assert nora.check_password("correct horse battery")


def new(password: str) -> dict[str, str]:
    return {"password1": password, "password2": password}


def test_administrators_change_their_own_password_on_its_page(root: Any) -> None:
    answer = client_of(root).get(address(User, root.pk, "password"))
    assert answer["Location"] == "/password/change/"


def test_an_account_of_the_provider_gets_no_link(root: Any) -> None:
    ana = User.objects.create_user("ana")
    OidcAccount.objects.create(user=ana)
    assert client_of(root).post(address(User, ana.pk, "password")).status_code == 403


def test_users_cannot_change_their_own_rights(helper: Any) -> None:
    client_of(helper).post(address(User, helper.pk, "change"), account(helper, is_superuser="on"))
    helper.refresh_from_db()
    assert not helper.is_superuser


def test_staff_cannot_change_administrators(helper: Any, root: Any) -> None:
    client, ana = client_of(helper), User.objects.create_user("ana", password="x")
    client.post(address(User, ana.pk, "change"), account(ana, is_superuser="on", is_staff="on", first_name="Ana"))
    ana.refresh_from_db()
    assert (ana.is_superuser, ana.is_staff, ana.first_name) == (False, False, "Ana")
    assert client.post(address(User, root.pk, "password")).status_code == 403
    assert client.post(address(Group, "add"), {"name": "all"}).status_code == 403


def test_member_command_adds_an_owner(project: Project) -> None:
    User.objects.create_user("erik", password="x")
    call_command("member", "guarded", "erik", "owner")
    call_command("member", "guarded", "olga", "engineer")
    call_command("member", "guarded", "mona", "none")
    roles = dict(Membership.objects.filter(project=project).values_list("user__username", "role"))
    assert roles == {"erik": "owner", "olga": "engineer"}
    assert AuditEntry.objects.filter(project=project, about__startswith="member").count() == 3
    with pytest.raises(CommandError, match="only owner"):
        call_command("member", "guarded", "erik", "none")


def test_only_a_superuser_removes_two_factor_authentication(root: Any, project: Project) -> None:
    lost = Authenticator.objects.create(
        user=project.memberships.get(role=Role.ANNOTATOR).user, type="totp", data={"secret": "seed"}
    )
    staff = User.objects.create_user("sam", password="x", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(content_type__app_label="mfa"))
    page = address(Authenticator, lost.pk, "delete")
    assert client_of(staff).post(page, {"post": "yes"}).status_code == 403
    shown = client_of(root).get(address(Authenticator, lost.pk, "change"))
    assert b"seed" not in shown.content
    client_of(root).post(page, {"post": "yes"})
    assert not Authenticator.objects.exists()
