"""One small world for the tests that need rows."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.evaluation.factories import World
    from tests.shared_rows import SharedRows


def _make(folder: Path) -> "World":
    # Here, not above: this file is read before Django is set up.
    from tests.evaluation.factories import make_world

    return make_world(folder / "small-base", documents=24, holdout=12)


@pytest.fixture
def world(shared_rows: "SharedRows", db: None, tmp_path: Path) -> "World":
    """A project with 24 documents, 12 of them held out, a base model and a fine-tuned one."""
    shared_rows.offer("world", _make)
    return shared_rows.copy("world") or _make(tmp_path)
