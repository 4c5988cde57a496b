"""Tokens at the gateway: guesses cost little and affect no other caller, and each subject has a counter of its own."""

import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError

from labeling.integrations.tokens import create
from serving.gateway import limits as rate_limits
from serving.gateway import tokens
from serving.gateway.problems import GatewayProblem
from serving.gateway.tokens import Caller, TokenCache
from tests.evaluation.factories import World
from tests.serving.gateway.rig import Tokens, release, rig, route

VALID = "slm_valid"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that the database was asked about; one of them is valid."""
    texts: list[str] = []

    def authenticated(text: str) -> Caller | None:
        texts.append(text)
        return Caller(7, "invoices", frozenset({"extract", "read"}), None) if text == VALID else None

    monkeypatch.setattr(tokens, "_authenticated", authenticated)
    return texts


async def status(cache: TokenCache, token: str) -> int:
    """200, or the status of the problem."""
    try:
        await cache.caller(f"Bearer {token}", scope="extract")
    except GatewayProblem as problem:
        return problem.status
    return 200


async def test_guesses_do_not_push_valid_tokens_out(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_MAX_CACHED", 5)
    cache = TokenCache()
    assert await status(cache, VALID) == 200
    for number in range(20):
        assert await status(cache, f"slm_{number}") == 401
    assert await status(cache, "slm_19") == 401
    assert (await status(cache, VALID), len(asked)) == (200, 21)
    # An outage of the database: the token is still known.
    cache.clear()

    def away(text: str) -> Caller | None:
        raise DatabaseError("away")

    monkeypatch.setattr(tokens, "_authenticated", away)
    assert [await status(cache, token) for token in (VALID, "slm_new")] == [200, 503]


async def test_a_token_that_was_revoked_is_forgotten(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = TokenCache()
    assert await status(cache, VALID) == 200
    monkeypatch.setattr(tokens, "_authenticated", lambda text: None)
    cache.clear()
    assert [await status(cache, VALID) for _ in range(2)] == [401, 401]


async def test_what_cannot_be_a_token_asks_nobody(asked: list[str]) -> None:
    for token in ("", "sk-other", "slm_" + "a" * 200, "a" * 60_000):
        assert await status(TokenCache(), token) == 401
    assert asked == []


async def test_guesses_of_an_address_have_a_limit(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "GUESSES_PER_MINUTE", 3)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    async with rig(tmp_path, route(release(1))) as gateway:
        gateway.gateway.tokens = TokenCache()
        models = [(await gateway.client.get("/v1/models", headers=header(VALID))).status_code]
        for number in range(5):
            models.append((await gateway.client.get("/v1/models", headers=header(f"slm_{number}"))).status_code)
        assert models == [200, 401, 401, 401, 429, 429]
        assert len(asked) == 4
        # Who is known goes on, also from that address.
        assert (await gateway.client.get("/v1/models", headers=header(VALID))).status_code == 200


def header(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


async def test_passes_of_projects_have_counters_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {slug: Caller(None, slug, frozenset({"extract"}), None) for slug in ("invoices", "receipts")}

    async def lookup(self: TokenCache, text: str, before_query: object) -> Caller | None:
        return known.get(text)

    monkeypatch.setattr(Tokens, "_lookup", lookup)
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)

    async with rig(tmp_path, route(release(1)), per_minute=2) as gateway:
        asked = ["invoices"] * 3 + ["receipts"] * 2
        statuses = [(await gateway.client.get("/v1/models", headers=header(slug))).status_code for slug in asked]
        assert statuses == [200, 200, 429, 200, 200]


@pytest.mark.parametrize("how", ["deactivated", "password"])
def test_gateways_hear_of_an_account_that_is_closed(
    world: World, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any, how: str
) -> None:
    create(project=world.project, user=world.engineer, name="a", scopes=["extract"], days=None)
    announced: list[bool] = []
    monkeypatch.setattr("serving.replicas.changes.announce", lambda: announced.append(True))
    user = User.objects.get(pk=world.engineer.pk)
    with django_capture_on_commit_callbacks(execute=True):
        if how == "deactivated":
            user.is_active = False
        else:
            user.set_password("a second one 17")
        user.save()
    assert announced
