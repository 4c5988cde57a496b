"""One small world for the tests that need rows, its people at a browser, and a server that answers as OpenAI does."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from django.test import Client

    from tests.evaluation.factories import World
    from tests.evaluation.fake_openai import Fake


@shared_fixture
def world(db: None, tmp_path: Path) -> "World":
    """A project with 24 documents, 12 of them held out, a base model and a fine-tuned one."""
    # Here, not above: this file is read before Django is set up.
    from tests.evaluation.factories import make_world

    return make_world(tmp_path / "small-base", documents=24, holdout=12)


@shared_fixture
def small_world(db: None, tmp_path: Path) -> "World":
    """The same with 12 documents, 4 of them held out, for models that really answer."""
    from tests.evaluation.factories import make_world

    return make_world(tmp_path / "small-base", documents=12, holdout=4)


@pytest.fixture
def engineer(world: "World", client: "Client") -> "Client":
    """The browser of the engineer."""
    client.force_login(world.engineer)
    return client


@pytest.fixture
def manager(world: "World", client: "Client") -> "Client":
    """The browser of the manager."""
    client.force_login(world.manager)
    return client


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Servers on this machine may be asked, and are asked again at once."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    monkeypatch.setattr("evaluation.inference.clients.openai_client.INITIAL_BACKOFF_SECONDS", 0.01)


@pytest.fixture
def fake(quick: None) -> Iterator["Fake"]:
    """A server with a valid answer to everything."""
    from tests.evaluation.fake_openai import GOOD, running, says

    with running() as server:
        server.replies = [says(GOOD)]
        yield server
