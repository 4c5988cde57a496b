"""A fake server, and a client that retries quickly."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.evaluation import fake_openai as fakes
from tests.evaluation.fake_openai import (
    GOOD,
    Fake,
    says,
)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    monkeypatch.setattr("evaluation.inference.clients.openai_client.INITIAL_BACKOFF_SECONDS", 0.01)


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fakes.running() as server:
        server.replies = [says(GOOD)]
        yield server
