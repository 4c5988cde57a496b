"""Children that parse untrusted text: what ends them, and what they do not see."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from slmstudio.runs.limited_child import LimitedChild, LimitError


@pytest.fixture
def child() -> Iterator[LimitedChild]:
    made = LimitedChild("tests.limited_program", cpu_seconds=0.5, memory_bytes=100 * 2**20)
    yield made
    made.close()


def number(answer: str) -> int:
    return int(answer.split()[0])


def test_idle_child_answers_the_next_request(child: LimitedChild) -> None:
    assert number(child.ask("one")) == number(child.ask("two")) != os.getpid()


@pytest.mark.parametrize(
    ("request_text", "what"), [("loop", "time"), ("match", "time"), ("memory", "memory"), ("fail", "failed")]
)
def test_limits(child: LimitedChild, caplog: pytest.LogCaptureFixture, request_text: str, what: str) -> None:
    first = number(child.ask("one"))
    started = time.process_time()
    with pytest.raises(LimitError) as error:
        child.ask(request_text)
    assert error.value.what == what
    assert time.process_time() - started < 1
    assert number(child.ask("two")) != first
    assert "document" not in caplog.text


def test_processor_time_counts_per_request(child: LimitedChild) -> None:
    assert {number(child.ask(request)) for request in ("work", "work", "work", "work")} == {number(child.ask("one"))}


def test_ended_child_is_replaced(child: LimitedChild) -> None:
    first = number(child.ask("one"))
    os.kill(first, 0)
    with pytest.raises(LimitError):
        child.ask("leave")
    assert number(child.ask("two")) != first


def test_requests_do_not_wait_for_each_other(child: LimitedChild) -> None:
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(number(child.ask("sleep")))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(numbers)) == 2


def test_child_has_no_secrets(child: LimitedChild, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "SECRET_KEY", "REDIS_URL"):
        monkeypatch.setenv(name, "secret")
    assert child.ask("secrets") == ""
