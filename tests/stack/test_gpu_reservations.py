"""Jobs never share a GPU, even if workers are killed; a child process sees only its own GPUs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from slmstudio.workers import gpu_reservations
from slmstudio.workers.gpu_reservations import NotEnoughGpus, ReservationCancelled, reserve_gpus
from slmstudio.workers.hardware import Gpu, Hardware, this_machine

GIB = 1 << 30


def machine(cards: int) -> Hardware:
    return replace(
        this_machine(), gpus=tuple(Gpu(n, f"GPU-{n}-{n}{n}", "NVIDIA L4", 24 * GIB, 0) for n in range(cards))
    )


def never() -> bool:
    return False


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_jobs_get_one_gpu_each(tmp_path: Path) -> None:
    with reserve_gpus(machine=machine(2), folder=tmp_path, wait=never) as first:
        with reserve_gpus(machine=machine(2), folder=tmp_path, wait=never) as other:
            cards = {first.env["CUDA_VISIBLE_DEVICES"], other.env["CUDA_VISIBLE_DEVICES"]}
            assert cards == {"GPU-0-00", "GPU-1-11"}
            asked: list[int] = []

            def wait() -> bool:
                asked.append(1)
                return False

            with pytest.raises(ReservationCancelled), reserve_gpus(machine=machine(2), folder=tmp_path, wait=wait):
                pass
            assert asked == [1]
        with reserve_gpus(machine=machine(2), folder=tmp_path, wait=never) as again:
            assert again.env == other.env


def test_the_gpu_with_most_free_memory_is_first(tmp_path: Path) -> None:
    cards = tuple(replace(card, used_bytes=(20, 1, 5)[card.index] * GIB) for card in machine(3).gpus)
    with reserve_gpus(machine=replace(machine(3), gpus=cards), folder=tmp_path, wait=never) as reserved:
        assert [card.index for card in reserved.gpus] == [1]


def test_several_gpus_are_locked_together(tmp_path: Path) -> None:
    with reserve_gpus(2, machine=machine(2), folder=tmp_path, wait=never) as both:
        assert both.env["CUDA_VISIBLE_DEVICES"] == "GPU-0-00,GPU-1-11"
    with reserve_gpus(machine=machine(2), folder=tmp_path, wait=never):
        with pytest.raises(ReservationCancelled), reserve_gpus(2, machine=machine(2), folder=tmp_path, wait=never):
            pass
        with reserve_gpus(machine=machine(2), folder=tmp_path, wait=never) as left:
            assert len(left.gpus) == 1  # the one that waited in vain holds nothing


def test_too_many_gpus_is_an_error(tmp_path: Path) -> None:
    error = pytest.raises(NotEnoughGpus, match=r"needs 4 GPUs; its worker on .* has 2 GPUs")
    with error, reserve_gpus(4, machine=machine(2), folder=tmp_path, wait=never):
        pass


@pytest.mark.parametrize(("chosen", "sees"), [("1", "GPU-1-11"), ("GPU-0-00", "GPU-0-00"), ("GPU-2", "GPU-2-22")])
def test_visible_devices_of_the_worker_are_kept(
    chosen: str, sees: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    with reserve_gpus(machine=machine(3), folder=tmp_path, wait=never) as reserved:
        assert reserved.env["CUDA_VISIBLE_DEVICES"] == sees


def test_mig_instances_are_independent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(uuid: str, index: int) -> Gpu:
        return Gpu(index, uuid, "NVIDIA H100 MIG 1g.10gb", 10 * GIB, 0)

    monkeypatch.setattr(gpu_reservations, "mig_device", part)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a")
    with reserve_gpus(machine=machine(1), folder=tmp_path, wait=never) as first:
        assert first.env["CUDA_VISIBLE_DEVICES"] == "MIG-a"
        with pytest.raises(ReservationCancelled), reserve_gpus(machine=machine(1), folder=tmp_path, wait=never):
            pass
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-b")
        with reserve_gpus(machine=machine(1), folder=tmp_path, wait=never) as other:
            assert other.env["CUDA_VISIBLE_DEVICES"] == "MIG-b"


def test_a_worker_publishes_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_reservations, "this_machine", lambda: machine(3))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [card.uuid for card in gpu_reservations.own_machine().gpus] == ["GPU-1-11"]


def test_without_gpus_one_job_at_a_time(tmp_path: Path) -> None:
    with reserve_gpus(machine=machine(0), folder=tmp_path, wait=never) as reserved:
        assert reserved.env == {}
        with pytest.raises(ReservationCancelled), reserve_gpus(machine=machine(0), folder=tmp_path, wait=never):
            pass
    other_host = replace(machine(0), host="elsewhere")
    with (
        reserve_gpus(machine=machine(0), folder=tmp_path, wait=never),
        reserve_gpus(machine=other_host, folder=tmp_path, wait=never),
    ):
        pass


@pytest.mark.slow
def test_a_child_keeps_its_gpu_lock(tmp_path: Path, wait_for: Callable[..., None]) -> None:
    """The supervisor is killed; its child, which takes a moment to end, keeps the card until then."""
    words = tmp_path / "child.txt"
    child = (
        "import os, time, pathlib;"
        f"pathlib.Path({str(words)!r}).write_text(os.environ['CUDA_VISIBLE_DEVICES'] + ' ' + str(os.getpid()));"
        "time.sleep(30)"
    )
    script = f"""
import os, subprocess, sys
from pathlib import Path
import django
django.setup()
from slmstudio.workers.gpu_reservations import reserve_gpus
from tests.stack.test_gpu_reservations import machine, never
with reserve_gpus(machine=machine(1), folder=Path({str(tmp_path)!r}), wait=never) as reserved:
    subprocess.run([sys.executable, "-c", {child!r}], env={{**os.environ, **reserved.env}}, pass_fds=reserved.locks)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as supervisor:
        try:
            wait_for(lambda: words.exists() and " " in words.read_text(), seconds=30)
            card, pid = words.read_text().split()
            assert card == "GPU-0-00"
        finally:
            supervisor.kill()
    try:
        with pytest.raises(ReservationCancelled), reserve_gpus(machine=machine(1), folder=tmp_path, wait=never):
            pass
    finally:
        os.kill(int(pid), 9)
    deadline = time.monotonic() + 10
    with reserve_gpus(machine=machine(1), folder=tmp_path, wait=lambda: time.monotonic() < deadline):
        pass
