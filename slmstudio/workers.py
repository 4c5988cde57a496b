"""Workers for a command that needs the queue to be worked: those that run already, or some of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import django_rq
from django.conf import settings
from rq import Worker


def listening() -> set[str]:
    """Names of the queues that a live worker listens to."""
    connection = django_rq.get_connection("default")
    return {name for worker in Worker.all(connection=connection) for name in worker.queue_names()}


@contextmanager
def working(queues: list[str], *, say: Callable[[str], None]) -> Iterator[None]:
    """Makes sure that each queue is worked while the block runs, and ends the workers it had to start."""
    missing = [name for name in queues if name not in listening()]
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
            stack.callback(_end, process)
        yield


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
