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
from slmstudio.stack.environment import ROOT

NAME = "SLM_TEST_VARIABLE"


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (lambda: env.str(NAME), " a b ", "a b"),
        (lambda: env.bool(NAME), "Yes", True),
        (lambda: env.bool(NAME), "0", False),
        (lambda: env.int(NAME), "-12", -12),
        (lambda: env.int(NAME, minimum=1, maximum=65535), "65535", 65535),
        (lambda: env.url(NAME, schemes=["redis", "unix"]), "unix:///run/a.sock?db=0", "unix:///run/a.sock?db=0"),
        (lambda: env.list(NAME), "a, b,c", ["a", "b", "c"]),
        (lambda: env.choice(NAME, choices=["INFO", "DEBUG"]), "debug", "DEBUG"),
        (lambda: env.hosts(NAME), "10.0.0.0/8, ::1,gpu_1.inside", ["10.0.0.0/8", "::1", "gpu_1.inside"]),
    ],
)
def test_a_good_value_is_read(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], text: str, value: object
) -> None:
    monkeypatch.setenv(NAME, text)
    assert read() == value


@pytest.mark.parametrize(
    ("read", "text", "expects"),
    [
        (lambda: env.bool(NAME), "ture", "1, true, yes or on"),
        (lambda: env.int(NAME), "12.0", "a whole number"),
        (lambda: env.int(NAME), "١٢", "a whole number"),
        (lambda: env.int(NAME), "1_000", "a whole number"),
        (lambda: env.int(NAME, minimum=1, maximum=65535), "65536", "from 1 to 65535"),
        (lambda: env.int(NAME, minimum=1), "0", "at least 1"),
        (lambda: env.url(NAME, schemes=["redis", "unix"]), "http://a", "redis:// or unix://"),
        (lambda: env.url(NAME, schemes=["redis"]), "redis:a", "redis://"),
        (lambda: env.url(NAME, schemes=["redis"]), "redis://a:port", "redis://"),
        (lambda: env.list(NAME), "a,,b", "none of them empty"),
        (lambda: env.choice(NAME, choices=["INFO", "DEBUG"]), "loud", "one of INFO, DEBUG"),
        (lambda: env.hosts(NAME), "inside,10.0.0.0/99", "; '10.0.0.0/99' is none of these"),
        (lambda: env.hosts(NAME), "10.0.0", "; '10.0.0' is none of these"),
        (lambda: env.hosts(NAME), "http://inside", "a name, an address or a network"),
        (lambda: env.hosts(NAME), "inside:8000", "a name, an address or a network"),
    ],
)
def test_an_invalid_value_is_an_error(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], object], text: str, expects: str
) -> None:
    monkeypatch.setenv(NAME, text)
    with pytest.raises(EnvError) as caught:
        read()
    assert caught.value.name == NAME
    assert str(caught.value).startswith(f"The environment variable {NAME} is {text!r}; it must be ")
    assert expects in str(caught.value)


@pytest.mark.parametrize("text", [None, "", "  "])
def test_unset_and_empty_take_the_default(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    if text is None:
        monkeypatch.delenv(NAME, raising=False)
    else:
        monkeypatch.setenv(NAME, text)
    assert env.str(NAME, default="x") == "x"
    assert env.bool(NAME, default=False) is False
    assert env.int(NAME, default=0) == 0
    assert env.url(NAME, schemes=["redis"], default="redis://a") == "redis://a"
    assert env.list(NAME, default=[]) == []
    assert env.choice(NAME, choices=["INFO", "DEBUG"], default="INFO") == "INFO"
    assert env.hosts(NAME, default=[]) == []


@pytest.mark.parametrize(
    "read",
    [
        lambda: env.str(NAME),
        lambda: env.bool(NAME),
        lambda: env.int(NAME),
        lambda: env.list(NAME),
        lambda: env.url(NAME, schemes=["redis"]),
        lambda: env.choice(NAME, choices=["INFO"]),
        lambda: env.hosts(NAME),
    ],
)
def test_unset_without_a_default_is_an_error(monkeypatch: pytest.MonkeyPatch, read: Callable[[], object]) -> None:
    monkeypatch.delenv(NAME, raising=False)
    with pytest.raises(EnvError, match=f"{NAME} is not set; it must be"):
        read()


@pytest.mark.parametrize(("name", "value"), [("LOG_LEVEL", "loud"), ("OUTBOUND_ALLOW", "10.0.0.0/99")])
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
