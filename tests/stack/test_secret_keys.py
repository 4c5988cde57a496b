"""Keys that sign: weak ones prevent a start, and after a rotation what the former key signed stays valid."""

import os
import subprocess
import sys
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from labeling.integrations import deliveries
from labeling.models import Webhook
from labeling.projects.services import create_project
from serving.gateway.tokens import Pass, issue_pass, verify_pass
from serving.replicas import addresses
from slmstudio.accounts.encryption import decrypt, encrypt
from slmstudio.accounts.secret_keys import all_keys, require_strong_keys
from slmstudio.env import EnvError
from slmstudio.models import OidcAccount
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


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS", "ENCRYPTION_KEY"])
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


def stored(table: str, column: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {column} FROM {table}")
        return str(cursor.fetchone()[0])


def test_secrets_move_to_a_key_of_their_own(db: None, rotate: Any, settings: Any) -> None:
    user = get_user_model().objects.create_user("ana")
    project = create_project(name="Invoices", slug="invoices", owner=user, template="blank")
    url = "https://hooks.example.com/services/T0/secret"
    hook = Webhook.objects.create(project=project, url=url, events=[], salt=deliveries.new_salt())
    OidcAccount.objects.create(user=user, refresh_token=encrypt("refresh"))
    seed = Authenticator.objects.create(user=user, type="totp", data={"secret": encrypt("seed")})
    assert "secret" not in stored("labeling_webhook", "url")
    with connection.cursor() as cursor:  # a row from before addresses were encrypted
        cursor.execute("UPDATE labeling_webhook SET url = %s", [url])
    assert Webhook.objects.get().url == url
    rotate()
    settings.ENCRYPTION_KEY = "a key for the secrets of this installation"
    call_command("encrypt_secrets")
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [], "a third key of this installation"
    hook.refresh_from_db()
    seed.refresh_from_db()
    assert (hook.url, decrypt(seed.data["secret"])) == (url, "seed")
    assert decrypt(OidcAccount.objects.get().refresh_token) == "refresh"
    settings.ENCRYPTION_KEY = "another key for secrets, without the former"
    assert Webhook.objects.get().url == ""
    before = stored("labeling_webhook", "url")
    with pytest.raises(CommandError, match="3 values"):
        call_command("encrypt_secrets")
    assert stored("labeling_webhook", "url") == before


def test_replicas_accept_the_secrets_of_both_keys(rotate: Any) -> None:
    former = addresses.secret()
    assert addresses.accepted_secrets() == [former]
    rotate()
    assert addresses.accepted_secrets() == [addresses.secret(), former]
    assert addresses.secret() != former
