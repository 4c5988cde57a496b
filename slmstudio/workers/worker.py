"""The worker behind ``manage.py rqworker``: RQ's, with five habits more.

It runs the jobs of the application and no others (see ``slmstudio.workers.job_names``). It publishes its machine and
its memory beside its heartbeat, so that pages know workers of other hosts. A Valkey that restarts while a job runs does
not end it. One that takes no writes, because its disk is full, is waited for. Asked to stop, it tells the job at once:
a training then saves a checkpoint and goes back to the queue instead of being waited for; a job that takes no such hint
is waited for as ever.
"""

import json
import logging
import math
import os
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import psutil
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry
from rq import Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from slmstudio.runs import supervisor
from slmstudio.workers.devices import own_machine
from slmstudio.workers.job_names import StudioJob

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: where a worker's machine and memory lie, by the worker's name
FACTS_KEY = "slmstudio:worker:{}"
#: seconds between heartbeats of a worker that waits; RQ beats when its blocking read of the queue times out
IDLE_HEARTBEAT_SECONDS = 30
#: seconds between heartbeats of a worker that works
BUSY_HEARTBEAT_SECONDS = 10
#: RQ waits ``worker_ttl - 15`` seconds for a job before it beats
WORKER_TTL = IDLE_HEARTBEAT_SECONDS + 15
#: tries again for about two minutes before a worker believes that Valkey is gone
_RETRY = 30
#: how many refusals after one another are worth a line: one about every minute
_REFUSALS_A_LINE = 12


class QueueFull(RedisConnectionError):
    """Valkey answers but takes no writes: its disk or its memory is full. RQ is to take it as a lost connection."""


class QueueRetry(Retry):
    """Tries again while Valkey is away, and while it refuses to write.

    ``bears`` gives how often a command that is refused is tried again; it is asked after each refusal, since a worker
    that is told to stop has no more patience. Nothing of what is refused was done: a transaction is dropped whole.
    """

    def __init__(self, bears: Callable[[], float]) -> None:
        super().__init__(ExponentialBackoff(cap=5.0, base=0.2), _RETRY)
        self._bears = bears

    def __deepcopy__(self, memo: Any) -> "QueueRetry":
        return self  # every new connection asks for a copy; the worker would be copied along

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[[Exception], Any] | Callable[[Exception, int], Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """As ``Retry`` does it, and again where the answer is a refusal.

        Raises:
            QueueRefuses: it was refused too often.
        """
        refusals = 0
        while True:
            try:
                answer = super().call_with_retry(do, fail, is_retryable, with_failure_count)
            except ResponseError as error:
                if not _is_refusal(error):
                    raise
                refusals += 1
                if refusals > self._bears():
                    raise QueueFull(str(error)) from error
                if refusals % _REFUSALS_A_LINE == 1:
                    logger.warning("the queue rejects writes (disk or memory full); waiting (%s)", error)
                time.sleep(self._backoff.compute(min(refusals, 10)))
                continue
            if refusals:
                logger.info("the queue accepts writes again")
            return answer


def _is_refusal(error: ResponseError) -> bool:
    """Whether Valkey said that it can store nothing. In a transaction its words stand behind others."""
    text = str(error)
    return isinstance(error, OutOfMemoryError) or "MISCONF" in text or "OOM command not allowed" in text


class StudioWorker(Worker):
    """RQ's forking worker, as the module says."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # Whatever the command line asks for: the queue is read as JSON, and only jobs of the application are run.
        options |= {"serializer": JSONSerializer, "job_class": StudioJob}
        super().__init__(*args, **{"job_monitoring_interval": BUSY_HEARTBEAT_SECONDS, **options})
        for queue in self.queues:
            queue.job_class, queue.serializer = StudioJob, JSONSerializer
        self._leaving = False

    def work(self, *args: Any, **options: Any) -> bool:
        """Only a process that works is patient with Valkey: pages read workers too, and may not wait for it."""
        self.connection.set_retry(QueueRetry(self._max_write_retries))
        # Before anybody can find the worker and signal it: RQ does so only after the worker is registered.
        self._apply_worker_hints()
        self._install_signal_handlers()
        try:
            return bool(super().work(*args, **options))
        except StopRequested:  # while it was still registering
            self.teardown()
            return False

    def register_birth(self) -> None:
        self._publish(WORKER_TTL + 60, self.connection)  # first: whoever finds the worker finds its machine
        super().register_birth()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        super().heartbeat(timeout, pipeline)
        self._publish(timeout or self.worker_ttl + 60, self.connection if pipeline is None else pipeline)

    def register_death(self) -> None:
        self._leaving = True
        try:
            super().register_death()
            self.connection.delete(FACTS_KEY.format(self.name))
        except QueueFull as error:
            logger.warning("the queue does not take the worker's leave (%s); what it says of it expires", error)

    def set_shutdown_requested_date(self) -> None:
        """In a signal's handler: no error may end the worker here, whose job is still at work."""
        try:
            super().set_shutdown_requested_date()
        except RedisError as error:
            logger.warning("the queue is not told that the worker shall stop: %s", error)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """A job needs no queue while it runs: it goes on, and the next heartbeat tries again."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            logger.warning("the queue took no heartbeat (%s); the job goes on", error)

    def _max_write_retries(self) -> float:
        """How often a write that Valkey refuses is tried again: between jobs without end, for a full disk is no reason
        to go; while a job is at work, and in the job's own process, as long as a lost connection; not at all by a
        worker that is told to stop.
        """
        if self._leaving:
            return 0
        return math.inf if os.getpid() == self.pid and not self.horse_pid else _RETRY

    def _publish(self, seconds: int, connection: Any) -> None:
        facts = {
            "hardware": own_machine().as_dict(),
            "processes": process_space(),
            "memory": _memory(os.getpid(), family=False),
            # The job's process and what it started: the training itself is a child of that.
            "job_memory": _memory(self.horse_pid, family=True) if self.horse_pid else 0,
        }
        try:
            connection.set(FACTS_KEY.format(self.name), json.dumps(facts), ex=seconds)
        except RedisError as error:
            logger.warning("the worker's machine could not be published: %s", error)

    # -- stopping -----------------------------------------------------------------------------------------------------

    def _apply_worker_hints(self) -> None:
        worker = os.getpid()

        def stop_soon(*_: object) -> None:
            # Inherited by the job's process through the fork, so that no hint kills one that has only just begun. The
            # worker itself passes over a hint: what it took to heart every later job would inherit.
            if os.getpid() != worker:
                supervisor.request_stop()

        signal.signal(supervisor.STOP_SIGNAL, stop_soon)

    def handle_warm_shutdown_request(self) -> None:
        self._leaving = True
        super().handle_warm_shutdown_request()
        if self.horse_pid:
            try:
                os.kill(self.horse_pid, supervisor.STOP_SIGNAL)
            except ProcessLookupError:
                pass


@cache
def process_space() -> str:
    """Names the set of processes in which this one has its id: a container has its own, under its host's name or not.

    Empty where the system does not tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _memory(pid: int, *, family: bool) -> int:
    """Bytes of memory in use by a process, with ``family`` those of its descendants too; 0 where it has gone."""
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)] if family else [process]
    except psutil.Error:
        return 0
    total = 0
    for member in members:
        try:
            total += member.memory_info().rss
        except psutil.Error:
            continue
    return total
