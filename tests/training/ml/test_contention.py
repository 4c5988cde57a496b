"""A child process spins on idle cores and yields them to other processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from slmstudio.runs.child_environment import cpu_settings
from slmstudio.workers.hardware import allowed_cores
from tests.training.ml_data import REPO
from training.ml.hardware.contention import CALM_PERIODS, CpuLoad, CpuUsage, YieldLevel, cpu_usage

IDLE, LIGHT, HALF, ONE, TWO = 0.05, 0.24, 0.5, 1.0, 1.9


def test_threads_yield_immediately_and_return_after_calm() -> None:
    for before, others, level in (
        (0, [IDLE, LIGHT] * 9, 0),  # what a page costs now and then
        (0, [HALF], 1),
        (0, [TWO], 3),
        (1, [ONE], 2),
        (2, [HALF] * (CALM_PERIODS - 1), 2),
        (2, [HALF] * CALM_PERIODS, 1),
        (2, [IDLE] * (CALM_PERIODS - 1), 2),
        (2, [IDLE] * CALM_PERIODS, 0),
        (2, [IDLE] * (CALM_PERIODS - 1) + [ONE] + [IDLE] * (CALM_PERIODS - 1), 2),
        (2, [IDLE] * CALM_PERIODS + [ONE], 2),
        (0, [-3.0], 0),  # cores that this process has no thread for
    ):
        room = YieldLevel(before)
        for cores in others:
            room = room.after(cores)
        assert room.level == level, (before, others)


def test_cores_are_yielded_only_under_load() -> None:
    assert [YieldLevel(level).yielded_cores for level in range(4)] == [0, 0, 1, 2]


def test_load_is_split_into_own_and_other_cores() -> None:
    before, now = CpuUsage(10.0, 4.0, {0: 10.0, 1: 20.0, 2: 5.0}), CpuUsage(12.0, 7.0, {0: 12.0, 1: 22.0, 2: 5.2})
    load = now.load_since(before)
    assert (load.own, round(load.others, 6), load.idle) == (1.5, 0.6, frozenset({2}))
    lagging = CpuUsage(2.0, 3.0, {0: 30.0}).load_since(CpuUsage(1.0, 1.0, {0: 29.5}))
    assert lagging == CpuLoad(own=2.0, others=0.0)


def test_usage_counts_this_process_among_all() -> None:
    before = cpu_usage()
    while cpu_usage().own < before.own + 0.2:
        pass
    load = cpu_usage().load_since(before)
    assert 0 < load.own <= 1.5
    assert set(before.cores) == allowed_cores()


# Products whose idle thread would spin for ever. Only one process counts as another one, and tenfold, so that what else
# the machine does changes nothing; its processor time is real.
_CHILD = """
import json, os, sys, time
import torch
from training.ml.hardware import contention

watched = int(sys.argv[1])
torch.set_num_threads(2)
left, right = torch.rand(300, 300), torch.rand(300, 300)
changes = []

def of_watched():
    try:
        fields = open(f"/proc/{watched}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 10
    except OSError:
        return 0.0

def report_usage(level):
    deadline = time.monotonic() + 20
    while True:
        (left @ right).sum()
        before = time.process_time()
        time.sleep(0.3)
        idle = time.process_time() - before
        # on a busy machine the thread that spins gets little or nothing for a while
        if level or idle > 0.06 or changes or time.monotonic() > deadline:
            break
    report = {"level": level, "idle": idle, "cores": len(os.sched_getaffinity(0)), "sum": float((left @ right).sum())}
    if not changes:  # else it mixes two levels
        print(json.dumps(report), flush=True)

def read():
    own = time.process_time()
    return contention.CpuUsage(time.monotonic(), own, {0: own + of_watched()})

report_usage(0)
contention.ContentionMonitor(read, period=0.2, on_change=lambda level: changes.append(level.level)).start()
while True:
    left @ right
    time.sleep(0.01)
    if changes:
        level = changes[-1]
        changes.clear()
        report_usage(level)
"""


@pytest.fixture
def burner() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits for a line and then burns processor time."""
    text = "import sys; sys.stdin.readline()\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", text], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP is what torch has on Linux")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one thread never waits for another")
def test_process_yields_to_another_and_returns(burner: "subprocess.Popen[bytes]") -> None:
    environment = {**os.environ, **cpu_settings(), "OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "infinite"}
    command = [sys.executable, "-c", _CHILD, str(burner.pid)]
    with subprocess.Popen(command, cwd=REPO, env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert burner.stdin is not None
        reports = [json.loads(child.stdout.readline())]
        burner.stdin.write(b"\n")
        burner.stdin.flush()
        while reports[-1]["level"] < 2:
            reports.append(json.loads(child.stdout.readline()))
        contended = reports[-1]
        burner.kill()
        burner.wait()
        while reports[-1]["level"]:
            reports.append(json.loads(child.stdout.readline()))
        child.kill()
    alone, again = reports[0], reports[-1]
    assert [alone["cores"], contended["cores"], again["cores"]] == [len(allowed_cores()), 1, len(allowed_cores())]
    assert contended["idle"] < 0.05 < min(alone["idle"], again["idle"]), "threads that wait spin only on idle cores"
    assert alone["sum"] == contended["sum"] == again["sum"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS knows no affinity")
def test_child_of_a_confined_process_has_all_cores() -> None:
    child = (
        "import os, subprocess, sys\n"
        "from slmstudio.workers.hardware import allowed_cores, on_allowed_cores\n"
        "os.sched_setaffinity(0, {min(allowed_cores())})\n"
        "show = 'import os; print(len(os.sched_getaffinity(0)))'\n"
        "subprocess.run(on_allowed_cores([sys.executable, '-c', show]), check=True)\n"
    )
    shown = subprocess.run([sys.executable, "-c", child], cwd=REPO, check=True, stdout=subprocess.PIPE, text=True)
    assert int(shown.stdout) == len(allowed_cores())
