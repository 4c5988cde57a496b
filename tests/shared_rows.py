"""Rows shared by many tests, in a transaction around those of the tests; their files are watched.

A test gets a copy of the objects and is rolled back to the rows, as after ``setUpTestData``, but across modules. They
are made again where a test touched their files, left the transaction or starts from something else, and after some
seconds: the database's clock stands still in a transaction.
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

MOST_SECONDS = 10.0
Make = Callable[[Path], Any]  # makes rows, and perhaps files in this folder


class SharedRows:
    """A plugin that keeps what a fixture made for the next test that asks for this fixture."""

    def __init__(self, blocker: Any) -> None:
        self._blocker = blocker
        self._offers: dict[str, Make] = {}
        self._name = ""  # of the fixture whose rows are there
        self._path: Path | None = None  # of the last test that asked for them
        self._made: Any = None
        self._since = 0.0
        self._atomic: transaction.Atomic | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: dict[Path, tuple[int, int]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Makes the rows before the fixtures of a test that asks for them; for any other with a database, they go."""
        names = getattr(item, "fixturenames", ())
        marked = item.get_closest_marker("django_db") is not None
        alone = marked or "transactional_db" in names or "live_server" in names
        wanted = "" if alone else next((name for name in self._offers if name in names and _is_shared(item, name)), "")
        with self._blocker.unblock():
            if wanted:
                if not self._fresh(wanted):
                    self.drop()
                    self._open(wanted)
                self._path = item.path
            elif marked or "_django_db_helper" in names or item.path != self._path:
                self.drop()  # a test without a database in another file must not find a transaction open

    def offer(self, name: str, make: Make) -> None:
        """From the next test on, what the fixture ``name`` gives may come from here."""
        self._offers.setdefault(name, make)

    def copy(self, name: str) -> Any:
        """The objects of a fixture for one test; None where they are not shared."""
        return deepcopy(self._made) if self._name == name else None

    def drop(self) -> None:
        """Rolls the rows back and deletes the folder."""
        if self._atomic is not None:
            if connection.in_atomic_block:
                transaction.set_rollback(True)
            self._atomic.__exit__(None, None, None)
        if self._folder is not None:
            self._folder.cleanup()
        self._atomic = self._folder = self._made = None
        self._name = ""

    def _open(self, name: str) -> None:
        shutil.rmtree(_artifacts(), ignore_errors=True)  # of rows that are no more
        self._folder = tempfile.TemporaryDirectory(prefix="slm-rows-")
        self._atomic = transaction.atomic()
        self._atomic.__enter__()
        try:
            self._made = self._offers[name](Path(self._folder.name))
        except BaseException:
            self.drop()
            raise
        self._name, self._files, self._since = name, self._found(), time.monotonic()

    def _fresh(self, name: str) -> bool:
        """Whether everything is as it was made; files that the last test added are deleted, as its rows were."""
        if self._name != name or not connection.in_atomic_block or connection.needs_rollback:
            return False
        found = self._found()
        for added in found.keys() - self._files.keys():
            added.unlink()
        same = all(found.get(path) == state for path, state in self._files.items())
        return same and time.monotonic() - self._since < MOST_SECONDS

    def _found(self) -> dict[Path, tuple[int, int]]:
        """The files, with what changes when one is written, even where its time is set back."""
        assert self._folder is not None
        folders = (Path(self._folder.name), _artifacts())
        found = {path: path.stat() for folder in folders for path in folder.rglob("*") if path.is_file()}
        return {path: (state.st_size, state.st_ctime_ns) for path, state in found.items()}


def _is_shared(item: pytest.Item, name: str) -> bool:
    """Whether a test's fixture is the one of a conftest, and not one of the same name in its module."""
    info: Any = getattr(item, "_fixtureinfo", None)
    definitions: tuple[Any, ...] = info.name2fixturedefs.get(name, ()) if info else ()
    return bool(definitions) and not definitions[-1].baseid.endswith(".py")


def _artifacts() -> Path:
    return Path(artifacts.store().path(""))
