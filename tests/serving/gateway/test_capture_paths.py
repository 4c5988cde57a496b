"""Which addresses of the external model are reached: raw bytes on a socket, which no client has normalized."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yarl

from serving.gateway.capture import upstream
from serving.gateway.problems import GatewayProblem
from tests.serving.gateway.rig import route
from tests.serving.gateway.stand_in import Listening, StandIn, external, listening, standing_in

KEY = "sk-ours"


@pytest.fixture(autouse=True)
def outbound(settings: pytest.FixtureRequest) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1", "localhost"]  # type: ignore[attr-defined]


@pytest.fixture
def model() -> Iterator[StandIn]:
    with standing_in() as stand_in:
        stand_in.answers(b'{"object": "list", "data": []}')
        yield stand_in


@pytest.fixture
def gateway(tmp_path: Path, model: StandIn) -> Iterator[Listening]:
    with listening(tmp_path, route(external(model.url, key=KEY), capture="token")) as listener:
        yield listener


def get(port: int, target: bytes, *headers: bytes) -> int:
    """The status of a GET whose target is sent as it is."""
    head = [b"GET " + target + b" HTTP/1.1", b"Host: gateway", b"Authorization: Bearer good", b"Connection: close"]
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"\r\n".join([*head, *headers, b"", b""]))
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return int(answer.split(b" ", 2)[1])


#: what follows the address of the models, to get out of it
ELSEWHERE = [
    b"..", b"../files", b"%2e%2e/files", b"%2E%2e/files", b"%252e%252e/files", b"%25252e%25252e/files",
    b".%2e/files", b"%2e./files", b"..%2ffiles", b"..%2Ffiles", b"..%252ffiles", b"%2e%2e%2ffiles",
    b"%2e%2e%5cfiles", b"..%5cfiles", b"..\\files", b"a/../../files", b"a/%2e%2e/%2e%2e/organization/costs",
    b"a/%252e%252e/%252e%252e/%252e%252e/organization/costs", b"./../files", b"%2e/files", b".",
    b"/files", b"a//files", b"%2ffiles", b"a%2f%2ffiles", b"..;/files", b"%2e%2e;/files", b";/../files",
    b"a;b", b"a%3f/../../files", b"a%23/../../files", b"%EF%BC%8E%EF%BC%8E/files",
    b"%E2%80%A5/files", b"%c0%ae%c0%ae/files", b"\xc0\xae\xc0\xae/files", b"%00", b"a%0d%0aX:%20y", b"a%20b",
    b"a%09b", b"@evil", b"a@evil", b"\xe2\x80\xa4\xe2\x80\xa4/files",
]  # fmt: skip


def test_nothing_beside_the_models_is_read(gateway: Listening, model: StandIn) -> None:
    for rest in ELSEWHERE:
        assert get(gateway.port, b"/capture/invoices/v1/models/" + rest) in (400, 404), rest
        assert model.received == [], rest
    for path in (b"/v1/../v1/models", b"/%76%31/models", b"/v1/%2e%2e/v1/files", b"/v1//models"):
        get(gateway.port, b"/capture/invoices" + path)
        assert {received.path for received in model.received} <= {"/v1/models"}, path


def test_models_are_read(gateway: Listening, model: StandIn) -> None:
    for rest, path in (
        (b"", ""), (b"/", ""), (b"/big", "/big"), (b"/ft:gpt-4o-mini:org::abc", "/ft:gpt-4o-mini:org::abc"),
        (b"/meta-llama/Llama-3.1-8B", "/meta-llama/Llama-3.1-8B"), (b"/meta-llama%2FLlama", "/meta-llama/Llama"),
        (b"/a..b", "/a..b"), (b"?after=a%2Fb", "?after=a%2Fb"),
        (b"/a?/../files#", "/a?/../files"),  # a query, of which nothing is resolved
    ):  # fmt: skip
        assert get(gateway.port, b"/capture/invoices/v1/models" + rest) == 200
        received = model.received[-1]
        assert (received.path, received.headers["authorization"]) == (f"/v1/models{path}", f"Bearer {KEY}")


def test_the_final_address_is_below_the_base() -> None:
    base = "https://api.example.com/v1/"
    assert str(upstream.address(base, "chat/completions", "a=%20b")) == f"{base}chat/completions?a=%20b"
    for path in ("../files", "%2e%2e/files", "models/../../files", "models/%2E%2E/%2e%2e/costs", "..\\files"):
        with pytest.raises(GatewayProblem):
            upstream.address(base, path, "")
    assert isinstance(upstream.address(base, "models", ""), yarl.URL)


def test_the_key_of_the_studio_goes_without_the_organization_of_the_caller(
    tmp_path: Path, model: StandIn, gateway: Listening
) -> None:
    chosen = (b"OpenAI-Organization: org-b", b"OpenAI-Project: proj-b", b"X-Kept: yes")
    assert get(gateway.port, b"/capture/invoices/v1/models", *chosen) == 200
    headers = model.received[-1].headers
    assert headers["x-kept"] == "yes"
    assert not {"openai-organization", "openai-project"} & set(headers)


def test_what_is_read_is_in_the_log_of_the_process(
    gateway: Listening, model: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="serving.gateway.capture"):
        get(gateway.port, b"/capture/invoices/v1/models/big?x=secret")
    [line] = [record.getMessage() for record in caplog.records if record.name.startswith("serving.gateway.capture")]
    for part in ("invoices", "token 7", "models/big", "200"):
        assert part in line
    assert "secret" not in line
