"""The hardware of a live worker is known to every process that can reach the queue."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import django_rq
import pytest
from django.utils import timezone

from slmstudio.runs import supervisor
from slmstudio.workers import hardware
from slmstudio.workers.hardware import Gpu, Hardware, this_machine
from slmstudio.workers.live_workers import hardware_of, live_workers
from slmstudio.workers.worker import FACTS_KEY, StudioWorker, process_space


def test_hardware_round_trips_as_json() -> None:
    machine = replace(this_machine(), gpus=(Gpu(0, "GPU-1", "NVIDIA L4", 24 << 30, 1 << 30),))
    assert Hardware.from_dict(json.loads(json.dumps(machine.as_dict()))) == machine
    assert machine.cores >= 1
    assert 0 < machine.available_bytes <= machine.memory_bytes
    assert machine.processor


@pytest.mark.parametrize(
    ("flags", "bf16"), [("fpu avx2 avx512f", False), ("fpu avx512_bf16", True), ("fpu amx_bf16 amx_tile", True)]
)
def test_bf16_support_from_cpu_flags(flags: str, bf16: bool, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: Example 9000\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    monkeypatch.setattr(hardware, "_CPUINFO", file)
    hardware._processor.cache_clear()
    try:
        machine = this_machine()
    finally:
        hardware._processor.cache_clear()
    assert (machine.processor, machine.bf16) == ("Example 9000", bf16)


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def nothing() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", nothing)
    assert this_machine().gpus == ()


def test_peak_memory_is_not_inherited() -> None:
    script = (
        "import subprocess, sys; from slmstudio.workers.hardware import peak_resident_bytes as peak\n"
        "taken = bytearray(400_000_000) if len(sys.argv) > 1 else b''; taken = None\n"
        "print(peak(), flush=True)\n"
        "if len(sys.argv) > 1: subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)\n"
    )
    output = subprocess.run([sys.executable, "-c", script, script], capture_output=True, text=True, check=True).stdout
    parent, child = (int(line) for line in output.split())
    assert parent > 400_000_000 > 200_000_000 > child > 1_000_000


def test_a_worker_stopped_during_startup_unregisters(queues: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be found from the moment it is registered, and stopped by any process."""
    connection = django_rq.get_connection("default")
    worker = StudioWorker(["gpu"], connection=connection)
    monkeypatch.setattr(worker, "subscribe", lambda: os.kill(os.getpid(), signal.SIGTERM))
    signals = (signal.SIGTERM, signal.SIGINT, supervisor.STOP_SIGNAL)
    handlers = [signal.getsignal(number) for number in signals]

    def unheeded(*_: object) -> None:
        pytest.fail("the signal would have ended the worker where it stood")

    try:
        signal.signal(signal.SIGTERM, unheeded)
        assert worker.work() is False
    finally:
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)
    assert live_workers() == []
    assert not connection.exists(FACTS_KEY.format(worker.name))


@pytest.mark.slow
def test_a_worker_publishes_its_hardware_and_removes_it(idle_workers: Any, wait_for: Callable[..., None]) -> None:
    assert hardware_of("gpu") is None
    idle_workers.start("gpu")
    machine = hardware_of("gpu")
    assert machine is not None
    assert (machine.host, machine.memory_bytes) == (this_machine().host, this_machine().memory_bytes)
    assert hardware_of("default") is None
    worker, *_ = live_workers()
    assert worker.memory > 10_000_000
    connection = django_rq.get_connection("default")
    key = FACTS_KEY.format(worker.name)
    assert 30 < connection.ttl(key) < 600
    idle_workers.stop()
    assert hardware_of("gpu") is None
    assert not connection.exists(key)


@pytest.mark.parametrize(("place", "alive"), [("container-7", True), (process_space(), False)])
def test_containers_with_the_same_host_name_use_heartbeats(place: str, alive: bool, queues: None) -> None:
    """Its process cannot be seen from here, though it has one; of a worker that can be seen the process tells."""
    connection: Any = django_rq.get_connection("default")
    facts = {"hardware": this_machine().as_dict(), "memory": 1, "job_memory": 0, "processes": place}
    now = timezone.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    row: dict[str, Any] = {
        "hostname": socket.gethostname(),
        "pid": 2**22 + 1,
        "queues": "gpu",
        "last_heartbeat": now,
        "birth": now,
    }
    try:
        connection.sadd("rq:workers", "rq:worker:boxed")
        connection.hset("rq:worker:boxed", mapping=row)
        connection.set(FACTS_KEY.format("boxed"), json.dumps(facts), ex=60)
        assert (hardware_of("gpu") is not None) == alive
    finally:
        connection.srem("rq:workers", "rq:worker:boxed")
        connection.delete("rq:worker:boxed", FACTS_KEY.format("boxed"))


def test_the_most_capable_machine_of_a_queue(queues: None, monkeypatch: pytest.MonkeyPatch) -> None:
    small = replace(this_machine(), host="small", gpus=())
    large = replace(small, host="large", gpus=(Gpu(0, "a", "L4", 24 << 30), Gpu(1, "b", "L4", 24 << 30)))
    workers = [SimpleNamespace(hardware=machine, queues=("gpu",)) for machine in (small, large, None)]
    monkeypatch.setattr("slmstudio.workers.live_workers.live_workers", lambda: workers)
    assert hardware_of("gpu") == large
