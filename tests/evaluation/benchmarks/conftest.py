"""A world with documents enough for a benchmark."""

from pathlib import Path
from typing import TYPE_CHECKING

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from tests.evaluation.factories import World


@shared_fixture
def wide(db: None, tmp_path: Path) -> "World":
    """40 documents, 8 of them held out."""
    from tests.evaluation.benchmark_desk import wide_world

    return wide_world(tmp_path)
