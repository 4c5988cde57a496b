"""A world with documents enough for a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.evaluation.factories import World
    from tests.shared_rows import SharedRows


def _make(folder: Path) -> "World":
    from tests.evaluation.benchmark_desk import wide_world

    return wide_world(folder)


@pytest.fixture
def wide(shared_rows: "SharedRows", db: None, tmp_path: Path) -> "World":
    """40 documents, 8 of them held out."""
    shared_rows.offer("wide", _make)
    return shared_rows.copy("wide") or _make(tmp_path)
