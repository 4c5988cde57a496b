"""The worker of ``manage.py rqworker``: RQ's, with five changes.

It runs only the jobs of the application (see ``slmstudio.workers.job_names``). It publishes its hardware and memory
with its heartbeat, so that pages show workers of other hosts. It survives a restart of Valkey during a job. It waits
for a Valkey that rejects writes because its disk is full. When it is asked to stop, it forwards that to the job
immediately: a training then saves a checkpoint and is requeued; a job without support for that is waited for as in RQ.
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

from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.retry import Retry
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer

from slmstudio.logs.json_lines import log_facts, sane_id
from slmstudio.runs import supervisor
from slmstudio.runs.child_environment import cpu_settings
from slmstudio.workers.gpu_reservations import own_machine
from slmstudio.workers.hardware import resident_bytes
from slmstudio.workers.job_names import StudioJob

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: key of a worker's hardware and memory, by the worker's name
FACTS_KEY = "slmstudio:worker:{}"
#: seconds between heartbeats of an idle worker; RQ sends one when its blocking read of the queue times out
IDLE_HEARTBEAT_SECONDS = 30
#: seconds between heartbeats of a busy worker
BUSY_HEARTBEAT_SECONDS = 10
#: RQ waits ``worker_ttl - 15`` seconds for a job before it sends a heartbeat
WORKER_TTL = IDLE_HEARTBEAT_SECONDS + 15
#: retries for about two minutes before a worker treats Valkey as gone
_RETRY = 30
#: rejected writes per log line: one line about every minute
_REJECTIONS_PER_LINE = 12


class QueueFull(RedisConnectionError):
    """Valkey answers but rejects writes: its disk or its memory is full. RQ handles it as a lost connection."""


class QueueRetry(Retry):
    """Retries while Valkey is unavailable, and while it rejects writes.

    ``max_retries`` returns how often a rejected command is retried; it is called after each rejection, since a worker
    that is asked to stop does not wait. A rejected command has no effect: a transaction is dropped whole.
    """

    def __init__(self, max_retries: Callable[[], float]) -> None:
        super().__init__(ExponentialBackoff(cap=5.0, base=0.2), _RETRY)
        self._max_retries = max_retries

    def __deepcopy__(self, memo: Any) -> "QueueRetry":
        return self  # every new connection copies it; the worker would be copied along

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[[Exception], Any] | Callable[[Exception, int], Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """As in ``Retry``, and also retries a rejected write.

        Raises:
            QueueFull: it was rejected too often.
        """
        rejections = 0
        while True:
            try:
                answer = super().call_with_retry(do, fail, is_retryable, with_failure_count)
            except ResponseError as error:
                if not _is_rejection(error):
                    raise
                rejections += 1
                if rejections > self._max_retries():
                    raise QueueFull(str(error)) from error
                if rejections % _REJECTIONS_PER_LINE == 1:
                    logger.warning("the queue rejects writes (disk or memory full); waiting (%s)", error)
                time.sleep(self._backoff.compute(min(rejections, 10)))
                continue
            if rejections:
                logger.info("the queue accepts writes again")
            return answer


def _is_rejection(error: ResponseError) -> bool:
    """Whether Valkey rejected a write. In a transaction its message follows others."""
    text = str(error)
    return isinstance(error, OutOfMemoryError) or "MISCONF" in text or "OOM command not allowed" in text


class StudioWorker(Worker):
    """RQ's forking worker with the changes that the module describes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # Whatever the command line says: the queue is read as JSON, and only jobs of the application are run.
        options |= {"serializer": JSONSerializer, "job_class": StudioJob}
        super().__init__(*args, **{"job_monitoring_interval": BUSY_HEARTBEAT_SECONDS, **options})
        for queue in self.queues:
            queue.job_class, queue.serializer = StudioJob, JSONSerializer
        self._leaving = False

    def work(self, *args: Any, **options: Any) -> bool:
        """Only a working process retries for long: pages read workers too, and must not wait."""
        self.connection.set_retry(QueueRetry(self._max_write_retries))
        # Before other processes can find the worker and signal it: RQ does so only after the worker is registered.
        self._apply_worker_hints()
        self._install_signal_handlers()
        cpu_settings()  # found once, for the processes of all jobs
        try:
            return bool(super().work(*args, **options))
        except StopRequested:  # while it was still registering
            self.teardown()
            return False

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """With the ID of the request that queued the job in each line of the log."""
        with log_facts(request_id=sane_id(_named_request(job)), job=job.id):
            return bool(super().perform_job(job, queue, execution))

    def register_birth(self) -> None:
        self._publish(WORKER_TTL + 60, self.connection)  # first, so that a registered worker always has its hardware
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
            logger.warning("the worker could not be unregistered (%s); its entry expires", error)

    def set_shutdown_requested_date(self) -> None:
        """In a signal handler: no error may end the worker here, as its job is still running."""
        try:
            super().set_shutdown_requested_date()
        except RedisError as error:
            logger.warning("the worker's shutdown could not be recorded in the queue: %s", error)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """A running job needs no queue: it continues, and the next heartbeat tries again."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            logger.warning("the queue took no heartbeat (%s); the job continues", error)

    def _max_write_retries(self) -> float:
        """How often a rejected write is retried: between jobs without limit, since a full disk is no reason to exit;
        during a job, and in the job's own process, as long as for a lost connection; never by a worker that is asked to
        stop.
        """
        if self._leaving:
            return 0
        return math.inf if os.getpid() == self.pid and not self.horse_pid else _RETRY

    def _publish(self, seconds: int, connection: Any) -> None:
        facts = {
            "hardware": own_machine().as_dict(),
            "processes": process_space(),
            "memory": resident_bytes(os.getpid(), with_descendants=False),
            # The job's process and its children: a training is a child of it.
            "job_memory": resident_bytes(self.horse_pid) if self.horse_pid else 0,
        }
        try:
            connection.set(FACTS_KEY.format(self.name), json.dumps(facts), ex=seconds)
        except RedisError as error:
            logger.warning("the worker's machine could not be published: %s", error)

    # -- stopping -----------------------------------------------------------------------------------------------------

    def _apply_worker_hints(self) -> None:
        worker = os.getpid()

        def stop_soon(*_: object) -> None:
            # Inherited by the job's process through the fork, so that no signal kills one that has just started. The
            # worker itself ignores it: state set in the worker would be inherited by every later job.
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


def _named_request(job: Job) -> object:
    """The ID of a request that a job names. Other programs may have written it."""
    return job.meta.get("request_id") if isinstance(job.meta, dict) else None


@cache
def process_space() -> str:
    """The process id namespace of this process: a container has its own, with its host's name or another.

    Empty if the system does not report it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
