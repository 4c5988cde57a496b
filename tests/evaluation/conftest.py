"""One small world for the tests that need rows."""

from pathlib import Path
from typing import TYPE_CHECKING

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from tests.evaluation.factories import World


@shared_fixture
def world(db: None, tmp_path: Path) -> "World":
    """A project with 24 documents, 12 of them held out, a base model and a fine-tuned one."""
    # Here, not above: this file is read before Django is set up.
    from tests.evaluation.factories import make_world

    return make_world(tmp_path / "small-base", documents=24, holdout=12)
