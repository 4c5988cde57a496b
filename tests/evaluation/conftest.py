"""One small world for the tests that need rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.evaluation.factories import World
    from tests.evaluation.shared_world import SharedWorld


def _make(folder: Path) -> "World":
    # Here, not above: this file is read before Django is set up.
    from tests.evaluation.factories import make_world

    return make_world(folder, documents=24, holdout=12)


@pytest.fixture(scope="session")
def shared_world(django_db_setup: None, django_db_blocker: Any, pytestconfig: pytest.Config) -> "Iterator[SharedWorld]":
    """The world of the tests that come after the one that asks for this first."""
    from tests.evaluation.shared_world import SharedWorld

    shared = SharedWorld(_make, django_db_blocker)
    pytestconfig.pluginmanager.register(shared)
    yield shared
    pytestconfig.pluginmanager.unregister(shared)
    with django_db_blocker.unblock():
        shared.drop()


@pytest.fixture
def world(shared_world: "SharedWorld", db: None, tmp_path: Path) -> "World":
    """A project with 24 documents, 12 of them held out, a base model and a fine-tuned one."""
    return shared_world.copy() or _make(tmp_path / "small-base")
