"""The processes of the web server: replaced when they die, and stopped if they cannot start."""

import subprocess
import sys
import time

import psutil
import pytest

from slmstudio.server import master
from slmstudio.stack.processes import descendants
from tests.conftest import ROOT, worker_environment
from tests.stack.test_serve import free_port

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def test_processes_end_with_the_first_one(transactional_db: None, queues: None) -> None:
    port = free_port()
    command = [sys.executable, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{port}", "--workers", "2"]
    master = subprocess.Popen(command, cwd=ROOT, env=worker_environment(), start_new_session=True)
    deadline = time.monotonic() + 15
    while len(descendants(master.pid)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = descendants(master.pid)
    time.sleep(0.2)  # they are tied to their parent
    master.kill()
    master.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.parametrize("bind", ["8000", "localhost:", "127.0.0.1:http"])
def test_invalid_addresses_are_rejected(bind: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        master.listen(bind)
