"""One small world for the tests that need rows."""

from pathlib import Path

import pytest

from tests.evaluation.factories import World, make_world


@pytest.fixture
def world(db: None, tmp_path: Path) -> World:
    """A project with 24 documents, 12 of them held out, a base model and a fine-tuned one."""
    return make_world(tmp_path / "small-base", documents=24, holdout=12)
