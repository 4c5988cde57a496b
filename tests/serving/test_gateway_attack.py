"""The gateway with attackers in separate processes; ``bench.gateway_attack`` has them, and measures more."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import ROOT
from tests.evaluation import fake_openai
from tests.serving.gateway.rig import RAW, TEXT, route
from tests.serving.gateway.stand_in import external, listening
from tests.serving.gateway.test_connection import HEALTH, ask
from tests.serving.gateway.wire import HEAD

CONNECTIONS, PROBES = 300, 10
BODY = b'{"text": "%s"}' % TEXT.encode()
DOCUMENT = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@contextmanager
def attacked(port: int) -> Iterator[None]:
    """Idle and slow connections, and bodies of 19 MB with and without a token."""
    command = [sys.executable, "-m", "bench.gateway_attack"]
    arguments = (["connections", str(port), str(CONNECTIONS)], ["bodies", str(port), "good"])
    attackers = [subprocess.Popen([*command, *own, "60"], cwd=ROOT) for own in arguments]
    try:
        yield
    finally:
        for attacker in attackers:
            attacker.kill()
            attacker.wait()


@pytest.mark.slow
def test_probes_are_answered_beside_idle_connections_and_large_bodies(
    tmp_path: Path, settings: Any, wait_for: Callable[..., None]
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]

    def open_connections() -> int:
        return sum(
            connection.laddr.port == gateway.port and connection.status == psutil.CONN_ESTABLISHED
            for connection in psutil.Process().net_connections(kind="tcp4")
        )

    with fake_openai.running() as model, listening(tmp_path, route(external(model.url))) as gateway:
        model.replies = [fake_openai.says(RAW)]
        with attacked(gateway.port):
            wait_for(lambda: open_connections() > CONNECTIONS * 0.9)
            statuses = [ask(gateway.port, request) for request in [HEALTH, DOCUMENT] * PROBES]
            assert open_connections() > CONNECTIONS / 2
    assert set(statuses) == {200}
