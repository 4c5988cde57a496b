"""The order of the test files: the longest first, so that the processes of a spread run end together.

How long a file takes is known from its last run on this machine (pytest's cache); before that it is estimated from its
tests.
"""

from collections import Counter, defaultdict

import pytest

CACHE = "slm/seconds"
# Estimated seconds of a test that is marked as slow, and of others by their folder; elsewhere 0.1.
SLOW = 10.0
USUAL = {"browser": 2.0, "stack": 1.0, "training": 0.5}


class LongestFirst:
    """A plugin that orders files, and notes how long they took. ``--dist loadfile`` gives them out in this order."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.cache = getattr(config, "cache", None)  # none where the plugin is switched off
        # by file, the number of its tests and the seconds they took together
        self.known: dict[str, list[float]] = self.cache.get(CACHE, {}) if self.cache else {}
        self.tests: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        if hasattr(config.option, "loadscopereorder"):
            config.option.loadscopereorder = False

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Orders the files, in every process alike; the tests of a file keep their order."""
        expected: defaultdict[str, float] = defaultdict(float)
        for item in items:
            expected[_file(item.nodeid)] += _estimate(item)
        expected.update((file, seconds) for file, (_, seconds) in self.known.items())
        items.sort(key=lambda item: (-expected[_file(item.nodeid)], _file(item.nodeid)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts what a test took, its set-up and its end included."""
        file = _file(report.nodeid)
        self.tests[file] += report.when == "call"
        self.seconds[file] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Keeps what was measured, for files that ran whole."""
        if hasattr(self.config, "workerinput") or self.cache is None:
            return
        whole = {file: [n, round(self.seconds[file], 2)] for file, n in self.tests.items() if n >= self._tests(file)}
        self.cache.set(CACHE, {**self.known, **whole})

    def _tests(self, file: str) -> float:
        return self.known.get(file, [0])[0]


def _estimate(item: pytest.Item) -> float:
    """Seconds of a test that was not measured."""
    if item.get_closest_marker("slow"):
        return SLOW
    file = _file(item.nodeid)
    return USUAL.get(file.split("/")[1] if file.count("/") > 1 else "", 0.1)


def _file(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]
