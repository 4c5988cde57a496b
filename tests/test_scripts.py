"""Scripts without a page: their tests run in Node."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_scripts() -> None:
    """All tests of ``tests/js`` pass."""
    done = subprocess.run(["node", "--test", "tests/js/"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
