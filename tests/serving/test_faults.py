"""Faults of serving with real processes under load; ``bench.serving_faults`` makes and measures them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from slmstudio.stack.processes import ended
from tests.conftest import ROOT

#: the faults that a suite has time for; ``bench.serving_faults`` makes all
FAULTS = ["replicas", "gateway", "log_store", "valkey", "postgres", "disk"]
#: faults during which requests fail. Of the others none fails on an idle machine; on a busy one a few are rejected.
FAILING = {"replicas", "gateway", "disk"}
#: 503 from the gateway, 0: no response
STATUSES = {0, 503}


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    """The results of these faults, all made in one run."""
    command = [sys.executable, "-m", "tests.serving.faults_run", *FAULTS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    return dict(zip(FAULTS, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_or_answered_wrongly(results: dict[str, dict[str, Any]], fault: str) -> None:
    result = results[fault]
    assert result["requests"] > 0
    assert (result["wrong"], result["missing"]) == (0, 0)
    assert {int(status) for status in result["statuses"]} <= STATUSES, result
    assert fault in FAILING or result["failed"] <= result["requests"] / 10, result


_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "bench.serving_replica", *sys.argv[1:]], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline(), flush=True)
time.sleep(60)
"""


def test_a_replica_ends_with_its_supervisor(tmp_path: Path) -> None:
    (tmp_path / "schema").write_text("hash")
    command = [sys.executable, "-c", _PARENT, str(tmp_path), "--address", f"unix:{tmp_path}/r.sock"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, _, event = parent.stdout.readline().partition(" ")
        assert '"ready"' in event
        replica = psutil.Process(int(pid))
        parent.kill()
    assert ended(replica, 10)
