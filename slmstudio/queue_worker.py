"""The worker behind ``manage.py rqworker``: RQ's, with three habits more.

It publishes its machine and its memory beside its heartbeat, so that pages know workers of other hosts. A Valkey that
restarts while a job runs does not end it. Asked to stop, it tells the job at once: a training then saves a checkpoint
and goes back to the queue instead of being waited for; a job that takes no such hint is waited for as ever.
"""

import json
import logging
import os
import signal
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq import Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job

from slmstudio import supervisor
from slmstudio.devices import own_machine

logger = logging.getLogger(__name__)

#: where a worker's machine and memory lie, by the worker's name
FACTS_KEY = "slmstudio:worker:{}"
#: seconds between heartbeats of a worker that waits; RQ beats when its blocking read of the queue times out
IDLE_BEAT_SECONDS = 30
#: seconds between heartbeats of a worker that works
BUSY_BEAT_SECONDS = 10
#: RQ waits ``worker_ttl - 15`` seconds for a job before it beats
WORKER_TTL = IDLE_BEAT_SECONDS + 15
#: tries again for about two minutes before a worker believes that Valkey is gone
_RETRY = 30


class StudioWorker(Worker):
    """RQ's forking worker, as the module says."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"job_monitoring_interval": BUSY_BEAT_SECONDS, **options})

    def work(self, *args: Any, **options: Any) -> bool:
        """Only a process that works is patient with Valkey: pages read workers too, and may not wait for it."""
        again = Retry(ExponentialBackoff(cap=5.0, base=0.2), _RETRY)
        self.connection.set_retry(again)
        # Before anybody can find the worker and signal it: RQ does so only after the worker is registered.
        self._heed_hints()
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
        super().register_death()
        self.connection.delete(FACTS_KEY.format(self.name))

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """A job needs no queue while it runs: it goes on, and the next heartbeat tries again."""
        try:
            super().maintain_heartbeats(job, execution)
        except (RedisConnectionError, RedisTimeoutError) as error:
            logger.warning("the queue does not answer (%s); the job goes on", error)

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

    def _heed_hints(self) -> None:
        worker = os.getpid()

        def stop_soon(*_: object) -> None:
            # Inherited by the job's process through the fork, so that no hint kills one that has only just begun. The
            # worker itself passes over a hint: what it took to heart every later job would inherit.
            if os.getpid() != worker:
                supervisor.stop_soon()

        signal.signal(supervisor.STOP_SIGNAL, stop_soon)

    def handle_warm_shutdown_request(self) -> None:
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
