"""One world for many tests: its rows lie in a transaction around theirs, its files in a folder that is watched.

A test gets a copy of the objects and is rolled back to the rows, as after ``setUpTestData``, but across modules. The
world is made again where a test touched its files, left the transaction or was given no world, and after some seconds:
the database's clock stands still in a transaction.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from slmstudio.storage import artifacts
from tests.evaluation.factories import World

MOST_SECONDS = 10.0
Files = dict[Path, tuple[int, int]]


class SharedWorld:
    """A plugin that keeps the world between tests."""

    def __init__(self, make: Callable[[Path], World], blocker: Any) -> None:
        self._make, self._blocker = make, blocker
        self._world: World | None = None
        self._atomic: transaction.Atomic | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: Files = {}
        self._made = 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Makes the world, before the fixtures of a test that asks for it; for any other with a database, it goes."""
        names = getattr(item, "fixturenames", ())
        marked = item.get_closest_marker("django_db") is not None
        alone = marked or "transactional_db" in names or "live_server" in names
        with self._blocker.unblock():
            if "world" in names and not alone:
                if not self._fresh():
                    self.drop()
                    self._open()
            elif marked or "_django_db_helper" in names:
                self.drop()

    def copy(self) -> World | None:
        """The objects of the world for one test; None where it is not shared."""
        return deepcopy(self._world)

    def drop(self) -> None:
        """Rolls the rows back and deletes the folder."""
        if self._atomic is not None:
            if connection.in_atomic_block:
                transaction.set_rollback(True)
            self._atomic.__exit__(None, None, None)
        if self._folder is not None:
            self._folder.cleanup()
        self._atomic = self._folder = self._world = None

    def _open(self) -> None:
        shutil.rmtree(_artifacts(), ignore_errors=True)  # of rows that are no more
        self._folder = tempfile.TemporaryDirectory(prefix="slm-world-")
        self._atomic = transaction.atomic()
        self._atomic.__enter__()
        try:
            self._world = self._make(Path(self._folder.name) / "small-base")
        except BaseException:
            self.drop()
            raise
        self._files, self._made = _files(self._world), time.monotonic()

    def _fresh(self) -> bool:
        """Whether everything is as it was made; files that the last test added are deleted, as its rows were."""
        if self._world is None or not connection.in_atomic_block or connection.needs_rollback:
            return False
        found = _files(self._world)
        for added in found.keys() - self._files.keys():
            added.unlink()
        same = all(found.get(path) == state for path, state in self._files.items())
        return same and time.monotonic() - self._made < MOST_SECONDS


def _files(world: World) -> Files:
    """The files of a world, with what changes when one is written, even where its time is set back."""
    folders = (Path(world.base_model.folder), _artifacts())
    found = {path: path.stat() for folder in folders for path in folder.rglob("*") if path.is_file()}
    return {path: (state.st_size, state.st_ctime_ns) for path, state in found.items()}


def _artifacts() -> Path:
    return Path(artifacts.store().path(""))
