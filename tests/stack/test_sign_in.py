"""Sign-in: failed attempts are limited, logged, and do not affect other users."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
import redis
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.checks import run_checks
from django.db import IntegrityError, connection, transaction
from django.test import Client, RequestFactory

from slmstudio import stack
from slmstudio.accounts import shared_counters, sign_in
from slmstudio.accounts.sign_in import TooManyAttempts, _ConcurrencyLimit
from slmstudio.models import SignInEvent
from slmstudio.web.addresses import client_address, network_of
from tests.stack.test_body_limits import signed_in
from tests.stack.web import answer, server, status

PASSWORD = "correct horse battery"
Kind = SignInEvent.Kind


def forget_attempts() -> None:
    """Nobody has tried anything so far."""
    valkey = redis.Redis.from_url(settings.REDIS_URL)
    for pattern in ("slm:login:*", "slm:mark:*", "slm:token:*"):
        for key in [*valkey.scan_iter(pattern)]:
            valkey.delete(key)


@pytest.fixture
def no_counters(servers: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No attempts yet; all of the test are in the same window, and none is lost where Valkey is slow to answer."""
    monkeypatch.setattr(shared_counters, "_connection", lambda: redis.Redis.from_url(settings.REDIS_URL))
    monkeypatch.setattr(shared_counters, "time", SimpleNamespace(time=lambda: 1_000_000.0))
    forget_attempts()
    yield
    forget_attempts()


@pytest.fixture
def ana(db: None, no_counters: None) -> Any:
    return get_user_model().objects.create_user("ana", "ana@example.com", PASSWORD)


def attempt(name: str, password: str, address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).post("/login/", {"login": name, "password": password})


def kinds() -> list[str]:
    return [*SignInEvent.objects.order_by("pk").values_list("kind", flat=True)]


@pytest.mark.parametrize("name", ["ana", "nobody", "ana@example.com"])
def test_limit_by_account(ana: Any, name: str) -> None:
    for _ in range(sign_in.PAIR_LIMIT.attempts):
        assert attempt(name, "guess").status_code == 200
    for password in ("guess", PASSWORD):
        refused = attempt(name, password)
        assert refused.status_code == 429
        assert 0 < int(refused["Retry-After"]) <= sign_in.PAIR_LIMIT.seconds
    assert kinds() == [Kind.FAILED] * sign_in.PAIR_LIMIT.attempts + [Kind.LOCKED_OUT]


def test_other_addresses_do_not_lock_out_the_user(ana: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "ACCOUNT_LIMIT", sign_in.Limit(8, 3600))
    assert attempt("ana", PASSWORD, "192.0.2.1").status_code == 302
    for number in range(12):
        attempt("ana", "guess", f"198.51.100.{number}")
    assert attempt("ana", PASSWORD, "198.51.100.200").status_code == 429  # from a new address not for a while
    assert attempt("ana", PASSWORD, "192.0.2.1").status_code == 302  # from her own at once


def test_limit_by_address(ana: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "ADDRESS_LIMIT", sign_in.Limit(6, 300))
    answers = [attempt(f"name-{number}", "guess").status_code for number in range(8)]
    assert answers == [200] * 6 + [429] * 2
    assert attempt("ana", PASSWORD, "192.0.2.7").status_code == 302


@pytest.mark.parametrize(
    ("https", "remote", "code"), [(True, "127.0.0.1", 302), (True, "8.8.8.8", 429), (False, "127.0.0.1", 429)]
)
def test_an_untrusted_proxy_locks_out_no_one(
    ana: Any, monkeypatch: pytest.MonkeyPatch, settings: Any, https: bool, remote: str, code: int
) -> None:
    monkeypatch.setattr(sign_in, "ADDRESS_LIMIT", sign_in.Limit(6, 300))
    settings.HTTPS = https
    client = Client(REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR="203.0.113.9")
    for number in range(8):
        client.post("/login/", {"login": f"name-{number}", "password": "guess"})
    assert client.post("/login/", {"login": "ana", "password": PASSWORD}).status_code == code


def test_limit_behind_an_untrusted_proxy(ana: Any, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(sign_in, "ACCOUNT_LIMIT", sign_in.Limit(3, 3600))
    settings.HTTPS = True
    proxy: dict[str, Any] = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.9"}
    signed_in_before: Any = Client(**proxy)
    assert signed_in_before.post("/login/", {"login": "ana", "password": PASSWORD}).status_code == 302
    client: Any = Client(**proxy)
    codes = [client.post("/login/", {"login": "ana", "password": "guess"}).status_code for _ in range(4)]
    assert codes == [200] * 3 + [429]


@pytest.mark.parametrize(
    ("https", "proxies", "warnings"),
    [(True, [], ["slmstudio.W002"]), (True, ["127.0.0.1"], []), (False, [], [])],
)
def test_an_untrusted_proxy_is_a_warning(
    db: None, settings: Any, https: bool, proxies: list[str], warnings: list[str]
) -> None:
    settings.HTTPS, settings.TRUSTED_PROXIES = https, proxies
    checks = run_checks(tags=["security"], include_deployment_checks=True)
    assert [check.id for check in checks if check.id == "slmstudio.W002"] == warnings


def test_success_resets_the_counter(ana: Any) -> None:
    for _ in range(3):
        for _ in range(sign_in.PAIR_LIMIT.attempts - 1):
            assert attempt("ana", "typo").status_code == 200
        assert attempt("ana", PASSWORD).status_code == 302


def test_busy_responses_are_not_failures(ana: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.auth.hashers import MD5PasswordHasher  # of the tests

    def busy(*_: Any) -> None:
        raise TooManyAttempts(5, busy=True)

    with monkeypatch.context() as patched:
        patched.setattr(MD5PasswordHasher, "verify", busy)
        for _ in range(sign_in.PAIR_LIMIT.attempts + 1):
            answer = attempt("ana", PASSWORD)
            assert answer.status_code == 429
            assert b"Busy" in answer.content
    assert kinds() == []
    for _ in range(sign_in.PAIR_LIMIT.attempts):
        assert attempt("ana", "typo").status_code == 200


def test_no_password_is_checked_without_valkey(
    ana: Any, home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the connection of the application, and its clock
    running = stack.start(home, ["valkey"])
    settings.REDIS_URL = running.redis_url
    shared_counters._connection.cache_clear()
    try:
        signed_in_before = Client()
        assert signed_in_before.post("/login/", {"login": "ana", "password": PASSWORD}).status_code == 302
        stack.stop(running)
        for password in ("guess", PASSWORD):
            refused = attempt("ana", password)
            assert refused.status_code == 503
            assert int(refused["Retry-After"]) > 0
        assert signed_in_before.get("/").status_code == 200
        assert kinds() == [Kind.SIGNED_IN]
        headers = {"Authorization": "Bearer slm_wrong"}
        assert Client().get("/api/v1/projects", headers=headers).status_code == 401
        running = stack.start(home, ["valkey"])
        assert attempt("ana", PASSWORD).status_code == 302
    finally:
        stack.stop(running)
        shared_counters._connection.cache_clear()


def test_sign_in_events_are_append_only(ana: Any) -> None:
    client = Client(REMOTE_ADDR="192.0.2.1")
    client.post("/login/", {"login": "ana", "password": "typo"})
    client.post("/login/", {"login": "ana", "password": PASSWORD})
    client.post("/logout/")
    assert kinds() == [Kind.FAILED, Kind.SIGNED_IN, Kind.SIGNED_OUT]
    rows = SignInEvent.objects.order_by("pk")
    assert {row.address for row in rows} == {"192.0.2.1"}
    assert [row.user_id for row in rows] == [None, ana.pk, ana.pk]
    for change in ("UPDATE slmstudio_signinevent SET name = 'x'", "DELETE FROM slmstudio_signinevent"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)


def test_unknown_names_and_wrong_passwords_cost_one_hash_each(ana: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.auth.hashers import MD5PasswordHasher  # of the tests

    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def count(self: Any, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", count)
    for name in ("ana", "nobody"):
        hashed.clear()
        attempt(name, "guess")
        assert len(hashed) == 1


def test_invalid_tokens_are_counted(ana: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeling.api.access._INVALID_PER_MINUTE", 3)
    headers = {"Authorization": "Bearer slm_wrong"}
    codes = [Client(REMOTE_ADDR="192.0.2.1").get("/api/v1/projects", headers=headers).status_code for _ in range(5)]
    assert codes == [401] * 3 + [429] * 2


def test_password_hashing_concurrency() -> None:
    turnstile = _ConcurrencyLimit(inside=1, waiting=1)
    inside, leave = threading.Event(), threading.Event()

    def hash_slowly() -> None:
        with turnstile.enter():
            inside.set()
            leave.wait(5)

    threads = [threading.Thread(target=hash_slowly) for _ in range(2)]
    threads[0].start()
    assert inside.wait(5)
    threads[1].start()
    while not turnstile.is_full:  # the second one waits
        time.sleep(0.01)
    with pytest.raises(TooManyAttempts), turnstile.enter():
        pass
    leave.set()
    for thread in threads:
        thread.join()
    with turnstile.enter():
        pass


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "expected"),
    [
        ([], "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        (["127.0.0.1"], "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        (["127.0.0.1"], "127.0.0.1", "203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "127.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (["127.0.0.1", "10.0.0.0/8"], "127.0.0.1", "6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"),
        (["127.0.0.1"], "127.0.0.1", "", "127.0.0.1"),
        (["127.0.0.1"], "localhost", "203.0.113.9", "203.0.113.9"),
        ([], "::ffff:192.0.2.1", "", "192.0.2.1"),
    ],
)
def test_forwarded_addresses_of_trusted_proxies(
    settings: Any, trusted: list[str], remote: str, forwarded: str, expected: str
) -> None:
    settings.TRUSTED_PROXIES = trusted
    more: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", REMOTE_ADDR=remote, **more)) == expected


def test_ipv6_addresses_are_counted_by_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")


@pytest.mark.slow
def test_pages_are_served_during_sign_in_attempts(transactional_db: None, queues: None, no_counters: None) -> None:
    """Forty passwords at once, with the real hasher and real sockets."""
    cookies = signed_in(get_user_model().objects.create(username="ana", password=make_password("x")))
    codes: list[int] = []
    pages: list[int] = []
    with server("--workers", "2") as port:

        def attempt(number: int) -> None:
            body = urlencode({"login": f"name-{number}", "password": "guess", "csrfmiddlewaretoken": "c" * 32})
            head = f"POST /login/ HTTP/1.1\r\nHost: localhost\r\nCookie: csrftoken={'c' * 32}\r\nConnection: close\r\n"
            kind = "Content-Type: application/x-www-form-urlencoded\r\n"
            codes.append(status(answer(port, f"{head}{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode())))

        threads = [threading.Thread(target=attempt, args=(number,)) for number in range(40)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for path in ("/healthz", "/"):
                request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{cookies}\r\nConnection: close\r\n\r\n"
                pages.append(status(answer(port, request.encode())))
    assert set(pages) == {200}
    assert len(codes) == 40
    assert set(codes) <= {200, 429}
    assert 429 in codes  # not every password was hashed
