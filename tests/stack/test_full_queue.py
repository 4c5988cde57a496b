"""Workers survive a Valkey that rejects writes because its disk or memory is full."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django_rq
import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from rq import Worker

from slmstudio import stack
from slmstudio.stack.paths import Paths
from slmstudio.stack.valkey import Valkey
from slmstudio.workers.worker import QueueFull, QueueRetry, StudioWorker

MISCONF = "MISCONF Errors writing to the AOF file: No space left on device"


def patient(times: float) -> QueueRetry:
    retry = QueueRetry(lambda: times)
    retry._backoff = ConstantBackoff(0.001)
    return retry


def refusing(error: Exception, times: int) -> Any:
    """A command that is refused so often, and then done."""
    tries = [0]

    def do() -> int:
        tries[0] += 1
        if tries[0] <= times:
            raise error
        return tries[0]

    return do


@pytest.mark.parametrize(
    "words",
    [
        MISCONF,
        f"Command # 1 (HSET rq:worker:a state idle) of pipeline caused error: {MISCONF}",
        f"Transaction discarded because of: {MISCONF}",
        "Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.",
    ],
)
def test_rejected_writes_are_retried(words: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="slmstudio.workers.worker"):
        assert patient(float("inf")).call_with_retry(refusing(ResponseError(words), 20), lambda error: None) == 21
    logged = [record.getMessage() for record in caplog.records]
    assert [line.startswith("the queue rejects writes") for line in logged] == [True, True, False]
    assert logged[-1] == "the queue accepts writes again"


def test_too_many_rejections_are_a_connection_error() -> None:
    with pytest.raises(QueueFull) as caught:
        patient(3).call_with_retry(refusing(ResponseError(MISCONF), 9), lambda error: None)
    assert isinstance(caught.value, RedisConnectionError)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        patient(3).call_with_retry(refusing(ResponseError("WRONGTYPE not a list"), 1), lambda error: None)


def test_a_rejected_heartbeat_does_not_end_a_busy_worker(queues: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ResponseError(MISCONF)

    monkeypatch.setattr(Worker, "maintain_heartbeats", refuse)
    worker = StudioWorker(["gpu"], connection=django_rq.get_connection("default"))
    nothing: Any = None
    worker.maintain_heartbeats(nothing, nothing)


def test_retry_limits_of_a_worker(queues: None) -> None:
    worker = StudioWorker(["gpu"], connection=django_rq.get_connection("default"))
    assert worker._max_write_retries() == float("inf")
    worker._horse_pid = 1
    assert 10 < worker._max_write_retries() < 100
    worker._horse_pid = 0
    worker.handle_warm_shutdown_request()
    assert worker._max_write_retries() == 0


@pytest.fixture
def own(home: Path) -> Iterator[stack.Running]:
    """A Valkey of the test's own, whose memory is full."""
    running = stack.start(home, ["valkey"])
    try:
        room(running, "1")
        yield running
    finally:
        stack.stop(running)


def room(running: stack.Running, size: str) -> None:
    """Sets how many bytes it may keep; 0 is no limit."""
    with redis.Redis.from_url(running.redis_url) as client:
        client.config_set("maxmemory", size)


@pytest.mark.slow
def test_a_worker_starts_with_a_full_valkey(
    own: stack.Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    later = threading.Timer(1.5, room, (own, "0"))
    with redis.Redis.from_url(own.redis_url) as connection:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            connection.set("a", "b")
        worker = StudioWorker(["gpu"], connection=connection)
        monkeypatch.setattr(worker, "subscribe", lambda: None)
        later.start()
        try:
            assert worker.work(burst=True) is False
        finally:
            later.join()
        assert connection.hexists(worker.key, "death")
    assert "the queue rejects writes" in caplog.text


def test_a_stopping_worker_does_not_retry(
    own: stack.Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis.from_url(own.redis_url) as connection:
        worker = StudioWorker(["gpu"], connection=connection)
        borne = worker._max_write_retries
        signaled: list[bool] = []

        def stop_at_the_first_refusal() -> float:
            if not signaled:
                signaled.append(True)
                os.kill(os.getpid(), signal.SIGTERM)
            return borne()

        monkeypatch.setattr(worker, "_max_write_retries", stop_at_the_first_refusal)
        assert worker.work(burst=True) is False
    assert "the worker could not be unregistered" in caplog.text


def test_valkey_responds_with_a_full_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ResponseError(MISCONF)

    monkeypatch.setattr(redis.Redis, "ping", refuse)
    assert Valkey(Paths.of(home)).problem() == ""
