"""The runner of the suite: which failures run again, and what a second failure does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runner import LIMIT, RECORD

ROOT = Path(__file__).resolve().parent.parent
FAILS_ONCE = """
import pathlib, pytest
@pytest.mark.parametrize("number", range({tests}))
def test_flaky(number):
    seen = pathlib.Path(f"seen-{{number}}")
    again = seen.exists()
    seen.touch()
    assert again, "not ready\\tyet"
def test_always():
    pass
"""


def run(folder: Path, content: str) -> subprocess.CompletedProcess[str]:
    (folder / "tests").mkdir()
    (folder / "test_sample.py").write_text(content)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins take seconds to load
    return subprocess.run(
        [sys.executable, "-m", "tests.runner", "test_sample.py"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_tests_that_pass_when_run_again_are_recorded_as_flaky(tmp_path: Path) -> None:
    done = run(tmp_path, FAILS_ONCE.format(tests=LIMIT))
    assert done.returncode == 0, done.stdout
    rows = [line.split("\t") for line in (tmp_path / RECORD).read_text().splitlines()]
    assert [row[0] for row in rows] == [f"test_sample.py::test_flaky[{number}]" for number in range(LIMIT)]
    assert all(len(row) == 3 and "not ready yet" in row[2] for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        FAILS_ONCE.format(tests=LIMIT + 1),
        FAILS_ONCE.format(tests=1) + "def test_broken(): assert False",
        "import nothing_of_this_name",
    ],
    ids=["too many failures", "fails again", "not loaded"],
)
def test_other_failures_fail_the_run_and_record_nothing(tmp_path: Path, content: str) -> None:
    assert run(tmp_path, content).returncode != 0
    assert not (tmp_path / RECORD).exists()


def test_a_test_is_recorded_as_flaky_once_at_most() -> None:
    """The second time, it is rewritten or removed, and its lines here with it."""
    rows = [line.split("\t") for line in (ROOT / RECORD).read_text(encoding="utf-8").splitlines()]
    assert all(len(row) == 3 for row in rows)
    tests = [row[0] for row in rows]
    assert sorted(tests) == sorted(set(tests))
