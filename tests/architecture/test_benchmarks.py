"""Commands of benchmarks in the documentation exist, and every benchmark has its figures there."""

import importlib
import re
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md"]
MODULES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "bench").glob("*.py")}
#: benchmarks whose command is in the documentation
DOCUMENTED = set(chain(*(re.findall(r"-m bench\.(\w+)", path.read_text(encoding="utf-8")) for path in DOCUMENTS)))


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_documented_benchmarks_run(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")

    assert callable(module.main)


@pytest.mark.parametrize("name", sorted(MODULES.keys() - DOCUMENTED - {"__init__"}))
def test_other_modules_are_parts_of_benchmarks(name: str) -> None:
    """A module that no documentation names is used by another one."""
    assert any(f"bench.{name}" in text for other, text in MODULES.items() if other != name)
