"""GPU reservations of jobs: one GPU, or as many as a job requests, never one that another job holds.

A GPU belongs to the process that holds the lock of its file. The job's child process holds it too, so that a GPU is not
reassigned before the last process on it has ended, whatever killed the others. A machine without GPUs is one device:
two trainings on one processor only slow each other down.
"""

import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from django.conf import settings
from django.utils.translation import ngettext

from slmstudio.database.transactions import with_retries
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.supervisor import stop_requested
from slmstudio.workers.hardware import Gpu, Hardware, mig_device, this_machine

POLL_SECONDS = 1.0
WAITING = "waiting for another job on this machine"


class NotEnoughGpus(Exception):
    """This machine has fewer GPUs than the job requests; the message is a sentence."""


class ReservationCancelled(Exception):
    """The wait for a device was ended."""


@dataclass(frozen=True)
class ReservedGpus:
    """The devices of a job. ``env`` shows them to its child, ``locks`` are descriptors that the child must hold too."""

    gpus: tuple[Gpu, ...]
    env: dict[str, str]
    locks: tuple[int, ...]


def own_machine() -> Hardware:
    """The GPUs of this machine that ``CUDA_VISIBLE_DEVICES`` leaves this process."""
    machine = this_machine()
    return replace(machine, gpus=_visible(machine.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")))


@contextmanager
def reserve_for_run(run: BackgroundRun, count: int = 1) -> Iterator[ReservedGpus]:
    """Devices for a run, as ``reserve_gpus`` returns them. While it waits it sends heartbeats, and its page says why.

    Raises:
        NotEnoughGpus: the machine does not have that many GPUs.
        ReservationCancelled: the run was cancelled, or the worker was asked to stop; ``return_to_queue`` handles both.
    """

    def wait() -> bool:
        return not stop_requested() and with_retries(lambda: run.send_heartbeat(stage=WAITING))

    with reserve_gpus(count, wait=wait) as devices:
        yield devices


@contextmanager
def reserve_gpus(
    count: int = 1,
    *,
    wait: Callable[[], bool],
    machine: Hardware | None = None,
    folder: Path | None = None,
) -> Iterator[ReservedGpus]:
    """``count`` devices of this machine, held while the block runs; the GPUs with the most free memory first.

    ``wait`` is called about once a second while they are in use; False ends the wait.

    Raises:
        NotEnoughGpus: the machine does not have that many GPUs.
        ReservationCancelled: ``wait`` returned False.
    """
    machine = machine or this_machine()
    folder = (folder or settings.LOCK_FOLDER) / (machine.host or socket.gethostname())
    folder.mkdir(parents=True, exist_ok=True)
    cards = _visible(machine.gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if len(cards) < count and count > 1:
        have = ngettext("%(count)d GPU", "%(count)d GPUs", len(cards)) % {"count": len(cards)}
        raise NotEnoughGpus(f"This run needs {count} GPUs; its worker on {machine.host} has {have}.")
    while True:
        taken = _take(count, cards, folder)
        if taken is not None:
            break
        if not wait():
            raise ReservationCancelled
        time.sleep(POLL_SECONDS)
    given, locks = taken
    try:
        # Without GPUs nothing is set: a build for another kind of accelerator finds its own.
        env = {"CUDA_VISIBLE_DEVICES": ",".join(card.uuid for card in given)} if given else {}
        yield ReservedGpus(given, env, locks)
    finally:
        for lock in locks:
            os.close(lock)  # not unlocked: a child that outlives this process still holds it


def _visible(cards: Sequence[Gpu], chosen: str | None) -> tuple[Gpu, ...]:
    """The GPUs that the worker's own CUDA_VISIBLE_DEVICES leaves it, by index or by (a prefix of) an id.

    An index is that of ``nvidia-smi``, by PCI bus, which differs from CUDA's own order if the GPUs differ. A part of a
    GPU (MIG) is a device of its own, by its whole id.
    """
    if chosen is None:
        return tuple(cards)
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    visible: list[Gpu] = []
    for name in names:
        card = next((c for c in cards if str(c.index) == name or c.uuid.startswith(name)), None)
        if card is None and name.startswith("MIG-"):
            card = mig_device(name, len(cards) + len(visible))
        if card is None:
            break  # as in CUDA: everything after an unknown name is ignored
        visible.append(card)
    return tuple(visible)


def _take(count: int, cards: Sequence[Gpu], folder: Path) -> tuple[tuple[Gpu, ...], tuple[int, ...]] | None:
    """All requested locks, or none: a job that held some and waited could deadlock with another that does the same."""
    if not cards:
        lock = _lock(folder / "processor.lock")
        return None if lock is None else ((), (lock,))
    given: list[Gpu] = []
    locks: list[int] = []
    # The one with the most free memory first: an external program may use a GPU.
    for card in sorted(cards, key=lambda card: (card.used_bytes or 0, card.index)):
        lock = _lock(folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', card.uuid)}.lock")
        if lock is not None:
            given.append(card)
            locks.append(lock)
        if len(given) == count:
            return tuple(sorted(given, key=lambda card: card.index)), tuple(locks)
    for lock in locks:
        os.close(lock)
    return None


def _lock(path: Path) -> int | None:
    """A descriptor that holds the file's lock, None if another process has it. The kernel releases it with its last
    holder.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())  # for diagnosis
    return descriptor
