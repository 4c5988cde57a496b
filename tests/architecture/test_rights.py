"""Every address of the project, walked as people who do not belong there."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from labeling.services.projects import create_project

OPEN = {"/login/", "/healthz"}


def addresses(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    """Every address of the URLconf, with its arguments filled in."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            filled = re.sub(r"<slug:slug>|<slug>", "guarded", route)
            yield "/" + re.sub(r"<(?:\w+:)?\w+>", "1", filled)


def all_addresses() -> list[str]:
    return sorted(set(addresses(get_resolver().url_patterns)))


@pytest.fixture
def people(db: None) -> dict[str, Any]:
    users = get_user_model().objects
    owner = users.create_user("owner", password="x")
    create_project(owner=owner, name="Guarded", slug="guarded", template="invoice")
    return {"owner": owner, "stranger": users.create_user("stranger", password="x")}


def test_the_walk_sees_the_application() -> None:
    found = all_addresses()
    assert len([a for a in found if a.startswith("/p/guarded/")]) > 25, found


@pytest.mark.parametrize("method", ["get", "post"])
def test_anonymous_people_are_sent_to_the_login(people: dict[str, Any], method: str) -> None:
    client = Client()
    for address in all_addresses():
        if address in OPEN:
            continue
        answer = getattr(client, method)(address)
        assert answer.status_code in (302, 405), (address, answer.status_code)
        if answer.status_code == 302:
            assert answer["Location"].startswith("/login/"), address


@pytest.mark.parametrize("method", ["get", "post"])
def test_strangers_do_not_learn_that_a_project_exists(people: dict[str, Any], method: str) -> None:
    client = Client()
    client.force_login(people["stranger"])
    for address in all_addresses():
        if address.startswith("/p/guarded/"):
            answer = getattr(client, method)(address)
            assert answer.status_code in (404, 405), (address, answer.status_code)
