"""Live workers on all hosts, workers that a command starts for itself, and warnings about missing ones."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import django_rq
import psutil
from django.conf import settings
from django.utils import timezone
from django.utils.translation import ngettext
from redis.exceptions import RedisError
from rq import Worker
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.utils import utcparse

from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage.installation import COMMAND, PROGRAM
from slmstudio.workers.hardware import Hardware
from slmstudio.workers.worker import FACTS_KEY, process_space

#: seconds after its last heartbeat until a worker of another host counts as gone
LOST_AFTER_SECONDS = 90
#: seconds between two polls of a run by a command
POLL_SECONDS = 1.0
#: seconds between two passes of the reaper in a command that waits
REAP_SECONDS = 10.0
#: maximum number of workers that are read
MAX_WORKERS = 500


@dataclass(frozen=True)
class LiveWorker:
    """A live worker. Memory in bytes; ``hardware`` is None if it does not publish it."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    state: str
    since: datetime | None
    beat: datetime
    done: int
    failed: int
    hardware: Hardware | None = None
    memory: int = 0
    job_memory: int = 0
    job_ids: tuple[str, ...] = field(default=())


def live_workers() -> list[LiveWorker]:
    """Every live worker, ordered by host and process id. Three round trips, however many they are.

    Raises:
        RedisError: the queue does not answer.
    """
    connection: Any = django_rq.get_connection("default")  # its stubs do not know that it returns bytes
    keys = sorted(key.decode() for key in connection.smembers(Worker.redis_workers_keys))[:MAX_WORKERS]
    if not keys:
        return []
    names = [key.removeprefix(Worker.redis_worker_namespace_prefix) for key in keys]
    pipeline = connection.pipeline(transaction=False)
    for key, name in zip(keys, names, strict=True):
        pipeline.hgetall(key)
        pipeline.smembers(WORKER_EXECUTIONS_KEY_TEMPLATE.format(name))
    answers = pipeline.execute()
    facts = connection.mget([FACTS_KEY.format(name) for name in names])
    workers = [
        _worker(name, row, executions, fact)
        for name, row, executions, fact in zip(names, answers[::2], answers[1::2], facts, strict=True)
        if row
    ]
    return sorted((worker for worker in workers if worker is not None), key=lambda worker: (worker.host, worker.pid))


def _worker(name: str, row: dict[bytes, bytes], executions: set[bytes], fact: bytes | None) -> LiveWorker | None:
    values = {key.decode(): value.decode(errors="replace") for key, value in row.items()}
    beat = utcparse(values["last_heartbeat"]) if values.get("last_heartbeat") else None
    pid = int(values.get("pid") or 0)
    hardware, memory, job_memory, processes = None, 0, 0, process_space()
    if fact:
        try:
            published = json.loads(fact)
            processes = str(published.get("processes", processes))
            hardware = Hardware.from_dict(published["hardware"])
            memory, job_memory = int(published["memory"]), int(published["job_memory"])
        except (ValueError, KeyError, TypeError):
            pass  # of a worker that runs another version
    host = values.get("hostname", "")
    near = host == socket.gethostname() and processes == process_space()
    if beat is None or "death" in values or _is_lost(near, pid, beat):
        return None
    return LiveWorker(
        name=name,
        host=host,
        pid=pid,
        queues=tuple(values.get("queues", "").split(",")),
        state=values.get("state", ""),
        since=utcparse(values["birth"]) if values.get("birth") else None,
        beat=beat,
        done=int(values.get("successful_job_count") or 0),
        failed=int(values.get("failed_job_count") or 0),
        hardware=hardware,
        memory=memory,
        job_memory=job_memory,
        # members are "<job id>:<execution id>"
        job_ids=tuple(sorted(member.decode().split(":", 1)[0] for member in executions)),
    )


def _is_lost(near: bool, pid: int, beat: datetime) -> bool:
    """Whether a worker is alive: a killed one stays registered for a while. Checked by its process if it is visible,
    else by its heartbeat.

    ``near``: it is on this machine, and not in a container with its own process ids.
    """
    if near:
        return not (pid and psutil.pid_exists(pid))
    return (timezone.now() - beat).total_seconds() > LOST_AFTER_SECONDS


def active_queues() -> set[str]:
    """Names of the queues with a live worker."""
    return {name for worker in live_workers() for name in worker.queues}


def hardware_of(queue: str) -> Hardware | None:
    """The most capable machine among a queue's live workers: most GPUs, then most memory. None: there is no worker.

    Raises:
        RedisError: the queue does not answer.
    """
    return max(hardware_by_worker(queue), key=_ability, default=None)


def hardware_by_worker(queue: str) -> list[Hardware]:
    """The machine of each live worker of the queue that publishes its hardware.

    Raises:
        RedisError: the queue does not answer.
    """
    return [worker.hardware for worker in live_workers() if worker.hardware and queue in worker.queues]


def _ability(machine: Hardware) -> tuple[int, int, int]:
    return len(machine.gpus), max((gpu.memory_bytes for gpu in machine.gpus), default=0), machine.memory_bytes


class WorkerGone(RuntimeError):
    """A worker that was started for a command has ended."""


class StartedWorkers:
    """The workers that a command started, by queue."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reaped_at = -REAP_SECONDS

    def wait(self) -> None:
        """Sleeps until the next poll. Runs the reaper every ``REAP_SECONDS``: at each poll it would take a tenth of a
        core from the run.

        Raises WorkerGone where a worker that was started has ended.
        """
        time.sleep(POLL_SECONDS)
        self._check()
        if time.monotonic() - self._reaped_at >= REAP_SECONDS:
            self._reaped_at = time.monotonic()
            reap_lost_runs()

    def _check(self) -> None:
        for queue, process in self.processes.items():
            if process.poll() is not None:
                raise WorkerGone(
                    f"The worker of the queue {queue} ended with code {process.returncode}. "
                    f"To see why, start one manually: {PROGRAM} rqworker {queue}"
                )


@contextmanager
def ensure_workers(queues: list[str], *, say: Callable[[str], None]) -> Iterator[StartedWorkers]:
    """Makes sure that each queue has a worker while the block runs, and stops the workers it started."""
    missing = [name for name in queues if name not in active_queues()]
    started = StartedWorkers()
    with ExitStack() as stack:
        for name in missing:
            say(f"no worker listens to the queue {name}; starting one for this command")
            process = subprocess.Popen(
                [*COMMAND, "rqworker", name],
                cwd=settings.BASE_DIR,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C reaches this command, which then stops its workers in order
            )
            started.processes[name] = process
            stack.callback(_end, process)
        yield started


def _end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM lets a short job finish and a training save a checkpoint; a second one stops it. Then it is killed."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


#: how a worker of a queue is started, where its name does not say it
_COMMANDS = {"default": f"{PROGRAM} rqworker default webhooks"}


def no_worker_message(queue: str, *, for_administrator: bool = False) -> str:
    """A message where no worker serves a queue, or the queue is not reachable; else empty.

    ``for_administrator``: with the command that starts a worker.
    """
    try:
        if queue in active_queues():
            return ""
    except RedisError:
        return "The job queue is not reachable. Queued jobs start when it is."
    if for_administrator:
        return missing_worker(queue)
    kind = "GPU worker" if queue == "gpu" else "worker for these jobs"
    return f"No {kind} is running, so jobs stay queued. Ask an administrator to start one."


def missing_worker(queue: str, waiting: int | None = None) -> str:
    """The message about a queue without a worker, for administrators. ``waiting``: the number of its jobs if known."""
    jobs = "its jobs stay queued"
    if waiting is not None:
        jobs = ngettext("{n:,} job is queued", "{n:,} jobs are queued", waiting).format(n=waiting)
    command = _COMMANDS.get(queue, f"{PROGRAM} rqworker {queue}")
    return f"No worker for the queue {queue}; {jobs}. Start one with {command}."
