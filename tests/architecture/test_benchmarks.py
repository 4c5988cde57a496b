"""Commands of benchmarks in the documentation exist, and every benchmark has its figures there."""

import os
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md"]
MODULES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "bench").glob("*.py")}
#: benchmarks whose command is in the documentation
DOCUMENTED = set(chain(*(re.findall(r"-m bench\.(\w+)", path.read_text(encoding="utf-8")) for path in DOCUMENTS)))


_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    assert callable(importlib.import_module(f"bench.{name}").main), name
"""


def test_documented_benchmarks_start() -> None:
    """They are imported in a process without Django, which is set up by the last ones."""
    assert set(MODULES) >= DOCUMENTED
    names = sorted(DOCUMENTED, key=lambda name: "set_up_django" in MODULES[name])
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}

    subprocess.run([sys.executable, "-c", _IMPORT, *names], cwd=ROOT, env=environment, check=True)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - DOCUMENTED - {"__init__"}))
def test_other_modules_are_parts_of_benchmarks(name: str) -> None:
    """A module that no documentation names is used by another one."""
    assert any(f"bench.{name}" in text for other, text in MODULES.items() if other != name)
