"""Sessions: an idle user's ends, an active one's is extended up to a week, and ended ones are deleted."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from slmstudio.accounts import sessions
from tests.labeling.label_desk import Desk, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


@pytest.fixture
def client(desk: Desk) -> Client:
    client = Client()
    client.force_login(desk.ana)
    return client


def change(client: Client, **values: Any) -> None:
    """Changes members of the client's session."""
    session = client.session
    session.update(values)
    session.save()


def idle_for(client: Client, seconds: int) -> None:
    """The user's last activity was so long ago."""
    change(client, active_at=int(time.time()) - seconds)
    left = timedelta(seconds=settings.SESSION_COOKIE_AGE - seconds)
    Session.objects.filter(pk=client.session.session_key).update(expire_date=timezone.now() + left)


def seconds_left(client: Client) -> float:
    row = Session.objects.get(pk=client.session.session_key)
    return (row.expire_date - timezone.now()).total_seconds()


def test_a_page_extends_the_session(client: Client) -> None:
    idle_for(client, 3600)
    answer = client.get("/p/desk/")
    assert answer.status_code == 200
    assert answer.cookies[settings.SESSION_COOKIE_NAME]["max-age"] == settings.SESSION_COOKIE_AGE
    assert seconds_left(client) > settings.SESSION_COOKIE_AGE - 60
    assert settings.SESSION_COOKIE_NAME not in client.get("/p/desk/").cookies  # extended a moment ago


@pytest.mark.parametrize("headers", [{"HX-Request": "true"}, {"Sec-Fetch-Mode": "cors"}])
def test_polling_does_not_extend_the_session(client: Client, headers: dict[str, str]) -> None:
    idle_for(client, 3600)
    assert client.get("/p/desk/", headers=headers).status_code == 200
    assert seconds_left(client) < settings.SESSION_COOKIE_AGE - 3500


def test_an_open_tab_does_not_extend_the_session(client: Client, desk: Desk) -> None:
    idle_for(client, 3600)
    document = desk.document()
    here = f"/p/desk/label/{document.pk}/presence/"
    assert client.post(here, {"tab": "t"}, content_type="application/json").status_code == 200
    assert seconds_left(client) < settings.SESSION_COOKIE_AGE - 3500
    skip = f"/p/desk/label/{document.pk}/skip/"
    client.post(skip, {}, content_type="application/json")
    assert seconds_left(client) > settings.SESSION_COOKIE_AGE - 60


def test_an_idle_session_ends(client: Client) -> None:
    idle_for(client, settings.SESSION_COOKIE_AGE + 1)
    assert client.get("/p/desk/").url.startswith("/login/")  # type: ignore[attr-defined]


def test_a_session_ends_a_week_after_sign_in(client: Client) -> None:
    key = client.session.session_key
    change(client, signed_in_at=int(time.time()) - sessions.MAX_SECONDS - 1)
    assert client.get("/p/desk/").url.startswith("/login/")  # type: ignore[attr-defined]
    assert not Session.objects.filter(pk=key).exists()


def test_ended_sessions_are_deleted(client: Client, desk: Desk) -> None:
    other = Client()
    other.force_login(desk.ben)
    idle_for(client, settings.SESSION_COOKIE_AGE + 1)
    kept = other.session.session_key
    sessions.delete_expired()
    assert [*Session.objects.values_list("pk", flat=True)] == [kept]


def test_the_csrf_cookie_ends_with_the_browser() -> None:
    assert Client().get("/login/").cookies["csrftoken"]["max-age"] == ""
