"""Settings are parsed strictly: an invalid value is an error with the name of its variable."""

import multiprocessing
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slmstudio import env
from slmstudio.env import EnvError
from slmstudio.storage.installation import ROOT

NAME = "SLM_TEST_VARIABLE"


LEVELS = ["INFO", "DEBUG"]
READERS: dict[str, Callable[[], object]] = {
    "str": lambda: env.str(NAME, default="x"),
    "bool": lambda: env.bool(NAME, default=False),
    "int": lambda: env.int(NAME, default=7, minimum=1),
    "port": lambda: env.int(NAME, default=7, minimum=1, maximum=65535),
    "url": lambda: env.url(NAME, schemes=["redis", "unix"], default="redis://a"),
    "list": lambda: env.list(NAME, default=[]),
    "choice": lambda: env.choice(NAME, choices=LEVELS, default="INFO"),
    "hosts": lambda: env.hosts(NAME, default=[]),
    "networks": lambda: env.networks(NAME, default=[]),
}


@pytest.mark.parametrize(
    ("reader", "text", "value"),
    [
        ("str", " a b ", "a b"),
        ("bool", "Yes", True),
        ("int", "12", 12),
        ("url", "unix:///run/a.sock?db=0", "unix:///run/a.sock?db=0"),
        ("list", "a, b,c", ["a", "b", "c"]),
        ("choice", "debug", "DEBUG"),
        ("hosts", "10.0.0.0/8, ::1,gpu_1.inside", ["10.0.0.0/8", "::1", "gpu_1.inside"]),
        ("networks", "127.0.0.1, 10.0.0.0/8", ["127.0.0.1", "10.0.0.0/8"]),
    ],
)
def test_a_good_value_is_read(monkeypatch: pytest.MonkeyPatch, reader: str, text: str, value: object) -> None:
    monkeypatch.setenv(NAME, text)
    assert READERS[reader]() == value


@pytest.mark.parametrize(
    ("reader", "text", "expects"),
    [
        ("bool", "ture", "1, true, yes or on"),
        ("int", "12.0", "a whole number"),
        ("int", "١٢", "a whole number"),
        ("int", "0", "at least 1"),
        ("port", "65536", "from 1 to 65535"),
        ("url", "http://a", "redis:// or unix://"),
        ("url", "redis://a:port", "redis://"),
        ("list", "a,,b", "none of them empty"),
        ("choice", "loud", "one of INFO, DEBUG"),
        ("hosts", "inside,10.0.0.0/99", "a name, an address or a network"),
        ("hosts", "10.0.0", "a name, an address or a network"),
        ("hosts", "inside:8000", "a name, an address or a network"),
        ("networks", "inside", "addresses or networks"),
    ],
)
def test_an_invalid_value_is_an_error(monkeypatch: pytest.MonkeyPatch, reader: str, text: str, expects: str) -> None:
    monkeypatch.setenv(NAME, text)
    with pytest.raises(EnvError) as caught:
        READERS[reader]()
    assert caught.value.name == NAME
    assert str(caught.value).startswith(f"The environment variable {NAME} is {text!r}; it must be ")
    assert expects in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "  "])
def test_unset_and_empty_take_the_default(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    if text is None:
        monkeypatch.delenv(NAME, raising=False)
    else:
        monkeypatch.setenv(NAME, text)
    values = {name: read() for name, read in READERS.items()}
    lists: dict[str, object] = {name: [] for name in ("list", "hosts", "networks")}
    others = {"str": "x", "bool": False, "int": 7, "port": 7, "url": "redis://a", "choice": "INFO"}
    assert values == {**others, **lists}


def test_an_address_without_a_default_must_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    with pytest.raises(EnvError, match=f"{NAME} is not set; it must be"):
        env.url(NAME, schemes=["redis"])


@pytest.mark.parametrize(
    ("name", "value"), [("LOG_LEVEL", "loud"), ("OUTBOUND_ALLOW", "10.0.0.0/99"), ("MFA_REQUIRED_ROLES", "owners")]
)
def test_an_invalid_setting_stops_the_start(name: str, value: str) -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"manage.py: The environment variable {name} is {value!r}; it must be " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_passwords_are_not_shown_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "mysql://me:hunter2@host/db")
    with pytest.raises(EnvError) as caught:
        env.url(NAME, schemes=["postgresql"])
    assert "hunter2" not in str(caught.value)
    assert "mysql://me:***@host/db" in str(caught.value)


def test_the_secret_key_is_created_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secret-key"
    secret = env.secret_file(path)
    assert len(secret) == 64
    assert env.secret_file(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret-key"]


def test_concurrent_processes_get_one_secret_key(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert len(set(pool.map(env.secret_file, [path] * 64))) == 1
