"""Changes of one's own account need a recent confirmation, which renews the session's key; a deactivated account has no
sessions."""

import time
from typing import Any

import pytest
from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY as RECORDS
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

PASSWORD = "correct horse battery"
SENT = {
    "/email/": {"action_add": "", "email": "new@example.com"},
    "/sessions/": {},
    "/3rdparty/": {"account": "1"},
    "/oidc/login/?process=connect": {},
}


@pytest.fixture
def ana(db: None) -> User:
    return User.objects.create_user("ana", "ana@example.com", PASSWORD)


def signed_in(minutes_ago: float = 0) -> Client:
    client = Client()
    assert client.post("/login/", {"login": "ana", "password": PASSWORD}).status_code == 302
    session = client.session
    session[RECORDS] = [{**record, "at": time.time() - 60 * minutes_ago} for record in session[RECORDS]]
    session.save()
    return client


@pytest.mark.parametrize("path", SENT)
def test_changes_of_the_account_need_a_recent_confirmation(ana: User, path: str) -> None:
    client = signed_in(minutes_ago=6)
    assert client.get(path).status_code in (200, 404)  # a provider is not configured
    assert client.post(path, SENT[path])["Location"].startswith("/reauthenticate/?next=")
    recent = signed_in().post(path, SENT[path])
    assert not recent.get("Location", "").startswith("/reauthenticate/")


def test_a_confirmation_renews_the_key_and_repeats_the_request(ana: User) -> None:
    other, client = signed_in(), signed_in(minutes_ago=6)
    before = client.session.session_key
    asked = client.post("/sessions/", {})["Location"]
    assert client.post(asked, {"password": "wrong"}).status_code == 200
    assert client.session.session_key == before
    client.post(asked, {"password": PASSWORD})
    after = client.session.session_key
    assert after != before
    assert not Session.objects.filter(pk=before).exists()
    assert client.get("/sessions/").status_code == 200
    assert "_auth_user_id" not in other.session
    assert [*UserSession.objects.values_list("session_key", flat=True)] == [after]


def test_a_deactivated_account_has_no_sessions(ana: User) -> None:
    client, other = signed_in(), Client()
    other.force_login(User.objects.create_user("olga"))
    ana.is_active = False
    ana.save(update_fields=["is_active"])
    assert not Session.objects.filter(pk=client.cookies["sessionid"].value).exists()
    assert not UserSession.objects.filter(user=ana).exists()
    assert other.get("/").status_code == 200


def test_a_provider_that_deactivates_ends_sessions(ana: User, settings: Any) -> None:
    from slmstudio.accounts.oidc.accounts import _deactivate
    from slmstudio.models import OidcAccount

    client = signed_in()
    _deactivate(OidcAccount.objects.create(user=ana, refresh_token="x"), "removed")
    assert not Session.objects.filter(pk=client.cookies["sessionid"].value).exists()
