"""GPUs of a job: one, or as many as it asks for, never one that another job holds.

A card belongs to the process that holds the lock of its file. The child of a job holds it too, so that a card is not
given away before the last process on it has gone, whatever killed the others. A machine without cards is one device:
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

from slmstudio.database.retries import with_retries
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.supervisor import stop_requested
from slmstudio.workers.hardware import Gpu, Hardware, mig_device, this_machine

POLL_SECONDS = 1.0
WAITING = "waiting for another job on this machine"


class NotEnoughGpus(Exception):
    """This machine has fewer cards than the job asks for; the message is a sentence."""


class ReservationCancelled(Exception):
    """The waiting for a device was ended."""


@dataclass(frozen=True)
class ReservedGpus:
    """What a job was given. ``env`` shows its child the cards, ``locks`` are descriptors the child must hold too."""

    gpus: tuple[Gpu, ...]
    env: dict[str, str]
    locks: tuple[int, ...]


def own_machine() -> Hardware:
    """This machine with those of its cards that ``CUDA_VISIBLE_DEVICES`` leaves this process."""
    machine = this_machine()
    return replace(machine, gpus=_visible(machine.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")))


@contextmanager
def reserve_for_run(run: BackgroundRun, count: int = 1) -> Iterator[ReservedGpus]:
    """Devices for a run, as ``reserve_gpus`` gives them. While it waits its heart beats, and its page says what it
    waits for.

    Raises:
        TooFew: the machine has not so many cards.
        GivenUp: the run was cancelled meanwhile, or the worker was told to stop; ``return_to_queue`` is right for both.
    """

    def wait() -> bool:
        return not stop_requested() and with_retries(lambda: run.beat(stage=WAITING))

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
    """``count`` devices of this machine, held while the block runs; the freest cards first.

    ``wait`` is called about once a second while they are taken; False ends the waiting.

    Raises:
        TooFew: the machine has not so many cards.
        GivenUp: ``wait`` said so.
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
        # Without cards nothing is set: a build for another kind of accelerator finds its own.
        env = {"CUDA_VISIBLE_DEVICES": ",".join(card.uuid for card in given)} if given else {}
        yield ReservedGpus(given, env, locks)
    finally:
        for lock in locks:
            os.close(lock)  # not unlocked: a child that outlives this process still holds it


def _visible(cards: Sequence[Gpu], chosen: str | None) -> tuple[Gpu, ...]:
    """The cards that the worker's own CUDA_VISIBLE_DEVICES leaves it, by index or by (the start of) an id.

    An index counts as ``nvidia-smi`` does, by the place on the bus, which is not CUDA's own order where cards differ. A
    part of a card (MIG) is a card of its own, by its whole id.
    """
    if chosen is None:
        return tuple(cards)
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    found: list[Gpu] = []
    for name in names:
        card = next((c for c in cards if str(c.index) == name or c.uuid.startswith(name)), None)
        if card is None and name.startswith("MIG-"):
            card = mig_device(name, len(cards) + len(found))
        if card is None:
            break  # as CUDA reads it: what follows an unknown name does not count
        found.append(card)
    return tuple(found)


def _take(count: int, cards: Sequence[Gpu], folder: Path) -> tuple[tuple[Gpu, ...], tuple[int, ...]] | None:
    """All that is asked for, or nothing: one that held a part and waited could wait for another that does the same."""
    if not cards:
        lock = _lock(folder / "processor.lock")
        return None if lock is None else ((), (lock,))
    given: list[Gpu] = []
    locks: list[int] = []
    # The freest first: something that is none of ours may sit on a card.
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
    """A descriptor that holds the file's lock, None where another process has it. The kernel frees it with its last
    holder.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())  # for people who wonder
    return descriptor
