"""Calls to user-supplied URLs: internal addresses are rejected, whatever their name, and calls have a deadline."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from slmstudio.errors import Refused
from slmstudio.web import outbound

real = socket.getaddrinfo


@pytest.fixture
def server() -> Iterator[int]:
    """Answers 204 to every connection; the port."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.1)
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    done.set()
    thread.join(2)
    listening.close()


def resolves(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Every name of example stands for these addresses."""
    resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    def resolve(host: str, *arguments: Any, **more: Any) -> Any:
        return resolved if host.rstrip(".").endswith(".example") else real(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost/", "http://10.1.2.3/", "http://169.254.169.254/", "http://0.0.0.0/",
     "http://[::1]/", "http://[fe80::1]/", "http://[::ffff:10.0.0.1]/", "http://2130706433/", "http://224.0.0.1/",
     "http://0177.0.0.1/", "http://0x7f.1/", "http://127.1/", "http://100.64.0.1/", "http://[ff02::1]/",
     "http://[fc00::1]/", "http://[fec0::1]/", "http://[fe80::1%25lo]/", "http://①②⑦.⓪.⓪.①/",
     # IPv4 inside IPv6: compatible, translated, NAT64, 6to4
     "http://[::127.0.0.1]/", "http://[::ffff:0:10.0.0.1]/", "http://[64:ff9b::169.254.169.254]/",
     "http://[64:ff9b:1::10.0.0.1]/", "http://[2002:7f00:1::]/",
     # metadata of clouds: Azure, Oracle, Alibaba, AWS over IPv6; and the same inside IPv6
     "http://168.63.129.16/", "http://192.0.0.192/", "http://100.100.100.200/", "http://[fd00:ec2::254]/",
     "http://[fd00:ec2::23]/", "http://192.0.0.170/", "http://[::ffff:168.63.129.16]/", "http://[::168.63.129.16]/",
     "http://[64:ff9b::168.63.129.16]/", "http://[64:ff9b::a83f:8110]/", "http://[2002:a83f:8110::]/",
     "http://[2001:0:a83f:8110::]/", "http://2822734096/", "http://0xa83f8110/"],
)  # fmt: skip
def test_internal_addresses_are_rejected(url: str) -> None:
    with pytest.raises(Refused, match=r"internal address|unknown"):
        outbound.check(url)


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_public_addresses_are_accepted(address: str) -> None:
    outbound.check(f"https://{f'[{address}]' if ':' in address else address}/v1")


@pytest.mark.parametrize("url", ["", "x", "ftp://a/", "http://", "http://a:b@93.184.215.14/", "http://[", "//a/"])
def test_invalid_addresses_are_rejected(url: str) -> None:
    with pytest.raises(Refused):
        outbound.check(url)


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "inside.example"])
def test_an_administrator_can_allow_one(settings: Any, monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
    settings.OUTBOUND_ALLOW = ["nonsense/99", allowed]
    resolves(monkeypatch, "127.0.0.1")
    outbound.check("http://inside.example/")
    assert outbound.is_internal("inside.example")


def test_a_public_host_is_not_internal(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves(monkeypatch, "93.184.215.14")
    assert not outbound.is_internal("outside.example")


LISTED = ["api.example", ".models.example", "93.184.215.0/24", "2606:2800::/32"]


@pytest.mark.parametrize(
    "host", ["api.example", "API.example.", "models.example", "eu.models.example", "93.184.215.14", "[2606:2800::1]"]
)
def test_listed_external_hosts_are_accepted(settings: Any, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    settings.OUTBOUND_HOSTS = LISTED
    resolves(monkeypatch, "93.184.216.99")
    outbound.check(f"https://{host}/v1")


@pytest.mark.parametrize(
    "host", ["outside.example", "eu.api.example", "api.example.outside.example", "evilmodels.example", "93.184.216.14"]
)
def test_other_external_hosts_are_rejected(settings: Any, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    settings.OUTBOUND_HOSTS = LISTED
    resolves(monkeypatch, "93.184.215.14")
    with pytest.raises(Refused, match="OUTBOUND_HOSTS") as refused:
        outbound.check(f"https://{host}/v1")
    assert refused.value.code == "host_not_allowed"
    with outbound.client() as client, pytest.raises(Refused, match="OUTBOUND_HOSTS"):
        client.get(f"http://{host}/")


def test_allowed_internal_hosts_need_not_be_listed(settings: Any, monkeypatch: pytest.MonkeyPatch, server: int) -> None:
    settings.OUTBOUND_HOSTS, settings.OUTBOUND_ALLOW = ["api.example"], ["inside.example"]
    resolves(monkeypatch, "127.0.0.1")
    with outbound.client() as client:
        assert client.get(f"http://inside.example:{server}/").status_code == 204


def test_the_hub_needs_to_be_listed(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    outbound.require_hub()
    settings.OUTBOUND_HOSTS = ["api.example"]
    with pytest.raises(Refused, match=r"huggingface\.co"):
        outbound.require_hub()
    settings.OUTBOUND_HOSTS = ["api.example", "huggingface.co"]
    outbound.require_hub()
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.internal:8080")
    with pytest.raises(Refused, match=r"mirror\.internal"):
        outbound.require_hub()
    settings.OUTBOUND_ALLOW = ["mirror.internal"]
    outbound.require_hub()


def test_one_internal_address_among_several_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    resolves(monkeypatch, "93.184.215.14", "127.0.0.1")
    with pytest.raises(Refused, match=r"internal address \(127\.0\.0\.1\)"):
        outbound.check("http://both.example/")


def test_dns_rebinding_is_rejected(monkeypatch: pytest.MonkeyPatch, server: int) -> None:
    resolves(monkeypatch, "93.184.215.14")
    outbound.check("http://changing.example/")
    resolves(monkeypatch, "127.0.0.1")
    with outbound.client() as client, pytest.raises(Refused, match="internal address"):
        client.get(f"http://changing.example:{server}/")


def test_the_next_address_of_a_host_is_tried(settings: Any, monkeypatch: pytest.MonkeyPatch, server: int) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    resolves(monkeypatch, "127.0.0.9", "127.0.0.1")
    with outbound.client() as client:
        assert client.get(f"http://two.example:{server}/").status_code == 204
    resolves(monkeypatch, "127.0.0.9", "127.0.0.8")
    with outbound.client() as client, pytest.raises(httpx.ConnectError):
        client.get(f"http://two.example:{server}/")


def test_a_deadline_bounds_a_call_and_ends_with_its_block(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        started = time.monotonic()
        with outbound.client(timeout=60) as client:
            with outbound.deadline(0.4), pytest.raises(httpx.TimeoutException):
                client.get(address)
            assert time.monotonic() - started < 30
            with outbound.deadline(0), pytest.raises(httpx.TimeoutException):
                client.get(address)
    assert outbound._left(7.0, RuntimeError) == 7.0
