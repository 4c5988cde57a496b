"""Workers for a command that needs the queue to be worked: those that run already, or some of its own."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import django_rq
import psutil
from django.conf import settings
from rq import Worker
from rq.worker import BaseWorker


def listening() -> set[str]:
    """Names of the queues that a live worker listens to."""
    workers = Worker.all(connection=django_rq.get_connection("default"))
    return {name for worker in workers if not _is_gone(worker) for name in worker.queue_names()}


def _is_gone(worker: BaseWorker) -> bool:
    """A worker of this machine that was killed stays registered for minutes; its process tells."""
    return worker.hostname == socket.gethostname() and not (worker.pid and psutil.pid_exists(worker.pid))


class WorkerGone(RuntimeError):
    """A worker that was started for a command has ended."""


class Started:
    """The workers that a command started, by queue."""

    def __init__(self) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def check(self) -> None:
        """Raises WorkerGone where one of them has ended."""
        for queue, process in self.processes.items():
            if process.poll() is not None:
                raise WorkerGone(
                    f"The worker of the queue {queue} ended with code {process.returncode}. "
                    f"Start one by hand to see why: manage.py rqworker {queue}"
                )


@contextmanager
def working(queues: list[str], *, say: Callable[[str], None]) -> Iterator[Started]:
    """Makes sure that each queue is worked while the block runs, and ends the workers it had to start."""
    missing = [name for name in queues if name not in listening()]
    started = Started()
    with ExitStack() as stack:
        for name in missing:
            say(f"no worker listens to the queue {name}; starting one for this command")
            process = subprocess.Popen(
                [sys.executable, "manage.py", "rqworker", name],
                cwd=settings.BASE_DIR,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C reaches this command, which then ends its workers in order
            )
            started.processes[name] = process
            stack.callback(_end, process)
        yield started


def _end(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM lets a job finish; a second one stops it. After a while it is killed."""
    process.terminate()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
