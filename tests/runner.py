"""Runs pytest and, where few tests failed, runs those once more: ``python -m tests.runner ARGUMENTS OF PYTEST``.

At most LIMIT failed tests run again, each alone in a process of its own, one after the other. If all pass then, the run
passes; they are printed as flaky and recorded in tests/flaky.txt, which the next commit contains. Nothing else runs
again: a file that cannot be loaded, a sixth failure or an interrupted run fails at once.
"""

import datetime
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

LIMIT = 5
RECORD = Path("tests/flaky.txt")


class Failures:
    """A pytest plugin that keeps the failed tests, and the files that could not be loaded."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}  # of each failed test, by node id
        self.not_loaded: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.reasons.setdefault(report.nodeid, _reason(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.not_loaded.append(report.nodeid)


def run(arguments: list[str]) -> int:
    """Runs pytest with these arguments. Returns its exit status; 0 where all failures turned out to be flaky."""
    environment = dict(os.environ)  # before the tests' conftest.py adds the addresses of its servers
    failures = Failures()
    status = int(pytest.main(arguments, plugins=[failures]))
    if status != pytest.ExitCode.TESTS_FAILED or failures.not_loaded or not 0 < len(failures.reasons) <= LIMIT:
        return status
    print(f"\nRunning {len(failures.reasons)} failed tests once more, each alone.", flush=True)
    if not all(_passes_alone(test, environment) for test in failures.reasons):
        return status
    lines = [f"{test}\t{datetime.date.today()}\t{reason}\n" for test, reason in failures.reasons.items()]
    with RECORD.open("a", encoding="utf-8") as record:
        record.writelines(lines)
    print(f"\nFlaky: passed when run again, and added to {RECORD}. Commit it.\n" + "".join(lines), end="", flush=True)
    return 0


def _passes_alone(test: str, environment: Mapping[str, str]) -> bool:
    return subprocess.run([sys.executable, "-m", "pytest", test], env=environment, check=False).returncode == 0


def _reason(report: pytest.TestReport) -> str:
    """What was seen, on one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash else report.longreprtext
    return f"{report.when}: " + " ".join(message.split())[:300]


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
