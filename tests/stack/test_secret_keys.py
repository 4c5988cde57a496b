"""Keys that sign: weak ones prevent a start, and after a rotation what the former key signed stays valid."""

import os
import subprocess
import sys
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from labeling.integrations import deliveries
from labeling.models import Webhook
from serving.gateway.tokens import Pass, issue_pass, verify_pass
from serving.replicas import addresses
from slmstudio.accounts.secret_keys import all_keys, require_strong_keys
from slmstudio.env import EnvError
from tests.conftest import ROOT

FORMER, CURRENT = "the former key of this installation", "the current key of this installation"
SERVERS = {"DATABASE_URL": "postgresql://none/none", "REDIS_URL": "redis://none"}


@pytest.mark.parametrize(
    "command",
    [
        ["manage.py", "rqworker", "default"],
        ["-m", "slmstudio.server", "--bind", "127.0.0.1:0"],
        ["-m", "serving.gateway"],
    ],
)
def test_programs_refuse_a_weak_key(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env={**os.environ, **SERVERS, "SECRET_KEY": "abcde"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "SECRET_KEY" in done.stderr
    assert "abcde" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])
def test_weak_and_strong_keys(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for key in ("abc", "a" * 64, "abcd" * 16, "django-insecure-3f9k2l1m0n8b7v6c5x4z3a2s1d0f9g8h"):
        monkeypatch.setenv(name, key)
        with pytest.raises(EnvError) as caught:
            require_strong_keys()
        assert caught.value.name == name
        assert key not in str(caught.value)
    for key in ("", "2b7e151628aed2a6abf7158809cf4f3c", CURRENT):
        monkeypatch.setenv(name, key)
        require_strong_keys()
    monkeypatch.setenv(name, "abc")
    monkeypatch.setenv("DEBUG", "1")
    require_strong_keys()


@pytest.fixture
def rotate(settings: Any) -> Any:
    """Starts with the former key; the result replaces it."""
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = FORMER, []

    def to_current() -> None:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = CURRENT, [FORMER]

    return to_current


def test_sessions_survive_a_rotation(db: None, rotate: Any, settings: Any) -> None:
    client = Client()
    client.force_login(get_user_model().objects.create_user("ana"))
    rotate()
    assert client.get("/").status_code == 200
    assert client.get("/").status_code == 200  # now with a hash of the current key
    settings.SECRET_KEY_FALLBACKS = []
    assert client.get("/").status_code == 200


def test_passes_survive_a_rotation(rotate: Any) -> None:
    text = issue_pass("invoices")
    rotate()
    assert verify_pass(text) == Pass("invoices")


def test_webhook_secrets_survive_rotations(rotate: Any, settings: Any) -> None:
    hook = Webhook(salt=deliveries.new_salt())
    secret = deliveries.secret_of(hook)
    settings.SECRET_KEY_FALLBACKS = [CURRENT]  # all processes learn the new key first
    assert deliveries.secret_of(hook) == secret
    rotate()
    assert deliveries.secret_of(hook) == secret
    later = Webhook(salt=deliveries.new_salt())
    later_secret = deliveries.secret_of(later)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a third key of this installation", all_keys()
    assert (deliveries.secret_of(hook), deliveries.secret_of(later)) == (secret, later_secret)
    assert secret != later_secret
    settings.SECRET_KEY_FALLBACKS = []
    assert deliveries.secret_of(hook) != secret


def test_replicas_accept_the_secrets_of_both_keys(rotate: Any) -> None:
    former = addresses.secret()
    assert addresses.accepted_secrets() == [former]
    rotate()
    assert addresses.accepted_secrets() == [addresses.secret(), former]
    assert addresses.secret() != former
