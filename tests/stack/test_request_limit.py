"""The limit of requests of one user to the pages."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from slmstudio.web import request_limit

pytestmark = pytest.mark.django_db


def client_of(name: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name))
    return client


def test_a_user_with_too_many_requests_waits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.API_REQUESTS_PER_MINUTE = 3
    monkeypatch.setattr(request_limit, "time", SimpleNamespace(time=lambda: 6_000.0))
    ana, ben = client_of("ana"), client_of("ben")
    assert [ana.get("/").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert ana.get("/")["Retry-After"] == "60"
    assert ben.get("/").status_code == 200
    assert Client().get("/login/").status_code == 200
    monkeypatch.setattr(request_limit, "time", SimpleNamespace(time=lambda: 6_060.0))
    assert ana.get("/").status_code == 200
