"""Rows shared by many tests, in transactions around those of the tests; their files are watched.

A ``shared_fixture`` makes rows once for the tests that follow each other; one that asks for another shared
fixture makes its rows on top of that one's. A test gets copies of the objects and is rolled back to the rows, as after
``setUpTestData``, but across modules. They are made again where a test touched their files, left the transaction or
starts from something else, and after a minute: the database's clock stands still in a transaction.
"""

import functools
import inspect
import shutil
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from django.db import connection, transaction

MOST_SECONDS = 60.0
Made = TypeVar("Made")
Files = dict[Path, tuple[int, int]]


def shared_fixture(make: Callable[..., Made]) -> Callable[..., Made]:
    """A fixture whose rows tests share. It asks for ``db``, ``queues``, ``tmp_path`` and other shared fixtures only,
    whose objects it does not change: tests get other copies of them.

    A test that is not in a transaction has rows of its own, made by the same function.
    """
    names = list(inspect.signature(make).parameters)

    @functools.wraps(make)
    def fixture(shared_rows: "SharedRows", **values: Any) -> Made:
        return shared_rows.copy(fixture) if shared_rows.has(fixture) else make(**values)

    keyword = inspect.Parameter.KEYWORD_ONLY
    asked = [inspect.Parameter(name, keyword) for name in ("shared_rows", *names)]
    fixture.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]
    fixture.shared = make  # type: ignore[attr-defined]
    return pytest.fixture(fixture)


@dataclass
class Layer:
    """What one shared fixture made, and the files that were there then."""

    fixture: Callable[..., Any]
    made: Any
    atomic: transaction.Atomic
    files: Files


class SharedRows:
    """A plugin that keeps what shared fixtures made for the next test that asks for them."""

    def __init__(self, blocker: Any) -> None:
        self._blocker = blocker
        self._layers: list[Layer] = []
        self._path: Path | None = None  # of the last test that asked for rows
        self._since = 0.0
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Makes the rows before the fixtures of a test that asks for them; for any other with a database, they go."""
        names = getattr(item, "fixturenames", ())
        mark = item.get_closest_marker("django_db")
        alone = bool(mark and mark.kwargs) or "transactional_db" in names or "live_server" in names
        wanted = {} if alone else _wanted(item)
        with self._blocker.unblock():
            if wanted:
                self._keep(list(wanted.values()))
                for name, fixture in wanted.items():
                    if not self.has(fixture):
                        self._open(name, fixture, wanted)
                self._path = item.path
            elif mark or "_django_db_helper" in names or item.path != self._path:
                self.drop()  # a test without a database in another file must not find a transaction open

    def has(self, fixture: Callable[..., Any]) -> bool:
        """Whether the rows of a shared fixture are there."""
        return any(layer.fixture is fixture for layer in self._layers)

    def copy(self, fixture: Callable[..., Made]) -> Made:
        """The objects of a shared fixture, for one test."""
        return cast(Made, deepcopy(next(layer.made for layer in self._layers if layer.fixture is fixture)))

    def drop(self) -> None:
        """Rolls all rows back and deletes the folder."""
        while self._layers:
            self._close()
        if self._folder is not None:
            self._folder.cleanup()
        self._folder = None

    def _keep(self, wanted: list[Callable[..., Any]]) -> None:
        """Drops what this test did not ask for, and what is no more as it was made."""
        if not self._is_usable():
            self.drop()
        while any(layer.fixture not in wanted for layer in self._layers):
            self._close()
        if self._layers and not self._has_its_files(self._layers[-1]):
            self.drop()

    def _is_usable(self) -> bool:
        young = time.monotonic() - self._since < MOST_SECONDS
        return young and connection.in_atomic_block and not connection.needs_rollback

    def _has_its_files(self, layer: Layer) -> bool:
        """What the last test added is deleted, as its rows were."""
        files = self._files()
        for added in sorted(files.keys() - layer.files.keys(), reverse=True):  # files before their folder
            added.rmdir() if added.is_dir() else added.unlink()
        return all(files.get(path) == state for path, state in layer.files.items())

    def _open(self, name: str, fixture: Callable[..., Any], wanted: dict[str, Callable[..., Any]]) -> None:
        """Makes the rows of ``fixture``; those that it rests on are there."""
        if self._folder is None:
            shutil.rmtree(_artifacts(), ignore_errors=True)  # of rows that are no more
            self._folder = tempfile.TemporaryDirectory(prefix="slm-rows-")
            self._since = time.monotonic()
        make: Callable[..., Any] = fixture.shared  # type: ignore[attr-defined]
        given: dict[str, Any] = {}
        for asked in inspect.signature(make).parameters:
            if asked in ("db", "queues"):
                given[asked] = None
            elif asked == "tmp_path":
                given[asked] = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder.name))
            else:
                given[asked] = self.copy(wanted[asked])
        layer = Layer(fixture, None, transaction.atomic(), {})
        layer.atomic.__enter__()
        self._layers.append(layer)
        try:
            layer.made = make(**given)
        except BaseException:
            self.drop()
            raise
        layer.files = self._files()

    def _close(self) -> None:
        layer = self._layers.pop()
        if connection.in_atomic_block:
            transaction.set_rollback(True)
        layer.atomic.__exit__(None, None, None)

    def _files(self) -> Files:
        """Files and folders, with what changes when a file is written, even where its time is set back."""
        assert self._folder is not None
        files: Files = {}
        for folder in (Path(self._folder.name), _artifacts()):
            for path in folder.rglob("*"):
                state = path.stat()
                files[path] = (0, 0) if path.is_dir() else (state.st_size, state.st_ctime_ns)
        return files


def _wanted(item: pytest.Item) -> dict[str, Callable[..., Any]]:
    """The shared fixtures that a test asks for, each after those that it rests on."""
    info: Any = getattr(item, "_fixtureinfo", None)
    fixtures = {name: rows[-1].func for name, rows in info.name2fixturedefs.items()} if info else {}
    wanted: dict[str, Callable[..., Any]] = {}

    def add(name: str) -> None:
        if name in wanted or not hasattr(fixtures.get(name), "shared"):
            return
        for below in inspect.signature(fixtures[name].shared).parameters:
            add(below)
        wanted[name] = fixtures[name]

    for name in fixtures:
        add(name)
    return wanted


def _artifacts() -> Path:
    from slmstudio.storage import artifacts  # here, as a conftest imports this before Django is set up

    return Path(artifacts.store().path(""))
