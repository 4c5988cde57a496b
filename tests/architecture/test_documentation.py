"""What the documentation names exists: paths, the functions of the tour, benchmarks."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

from django.conf import settings

from tests.architecture.test_structure import APPS

ROOT = Path(settings.BASE_DIR)
PAGES = [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples/README.md"]
FOLDERS = ("templates", "static", "tests", "docs", "bench")
#: elsewhere, the name of an app may begin the address of a page
ABOUT_CODE = ("CONTRIBUTING.md", "architecture.md", "glossary.md", "security.md")
#: a quoted path: several names with slashes, or one name with an ending
_PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|js|html|md))`")


def missing(cell: str) -> list[str]:
    """The paths of a cell that do not exist from the root, nor from a folder that the cell names before them."""
    folders, lost = [ROOT], []
    for name in _PATH.findall(cell):
        place = next((base / name for base in folders if (base / name).exists()), None)
        if place is None:
            lost.append(name)
        else:
            folders.insert(1, place if place.is_dir() else place.parent)
    return lost


def test_paths_exist() -> None:
    table = re.findall(r"^\| (.+?) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert len(table) > 40
    assert [(change, lost) for change, places in table if (lost := missing(places))] == []
    assert missing("`slmstudio/stack/`, and `valkey.py` in it; `slmstudio/nothing.py`") == ["slmstudio/nothing.py"]
    named = {
        (page.name, path)
        for page in PAGES
        for path in re.findall(r"`([\w.-]+/[\w./-]+)`", page.read_text())
        if path.split("/")[0] in (*FOLDERS, *(APPS if page.name in ABOUT_CODE else ()))
    }
    assert [path for path in named if not any((ROOT / f"{path[1]}{end}").exists() for end in ("", ".py"))] == []


_STATES = ("met", "not met", "not applicable")
_REQUIREMENT = re.compile(
    r"^\| (\d+)\.(\d+)\.(\d+)(?:(?: to |, )\d+\.\d+\.(\d+))? \| [12] \| [^|]+ \| ([^|]+) \| .+ \|$"
)


def test_requirements_of_security_are_counted() -> None:
    """The table at the head of the page has the states of each chapter that it lists."""
    counts: Counter[tuple[int, str]] = Counter()
    listed: dict[int, tuple[int, ...]] = {}
    for line in (ROOT / "docs/security.md").read_text().splitlines():
        if match := _REQUIREMENT.match(line):
            chapter, _, first, last, state = match.groups()
            assert state in _STATES, line
            counts[int(chapter), state] += int(last or first) - int(first) + 1
        elif match := re.match(r"^\| V(\d+) [^|]*\| (\d+) \| (\d+) \| (\d+) \|$", line):
            listed[int(match[1])] = tuple(int(number) for number in match.groups()[1:])
    assert len(listed) >= 6
    assert {chapter: tuple(counts[chapter, state] for state in _STATES) for chapter in listed} == listed


#: a list entry, with its further lines
_STOP = re.compile(r"^\d+\. .+(?:\n   .+)*", re.MULTILINE)
_NAME = re.compile(r"`([a-z_]+(?:\.#?\w+)+)`")


def exists(name: str) -> bool:
    """Whether a function, or a method of a class, is defined in the module that its name begins with."""
    steps = name.split(".")
    return is_python(steps) if steps[0] in APPS else is_script(*steps)


def is_python(steps: list[str]) -> bool:
    files = [(ROOT.joinpath(*steps[:end]).with_suffix(".py"), steps[end:]) for end in range(len(steps))]
    file, names = next(((file, names) for file, names in reversed(files) if file.is_file()), (None, []))
    nodes: list[ast.stmt] = [] if file is None else ast.parse(file.read_text()).body
    definition: ast.AST | None = None
    for name in names:
        definition = next((node for node in nodes if getattr(node, "name", "") == name), None)
        nodes = getattr(definition, "body", [])
    return isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)


def is_script(module: str, name: str, method: str = "") -> bool:
    file = ROOT / "static/js/annotation" / f"{module}.js"
    text = file.read_text() if file.is_file() else ""
    if not method:
        return f"export function {name}(" in text
    body = text.partition(f"export class {name} {{\n")[2].partition("\n}\n")[0]
    return re.search(rf"^  (?:async )?{re.escape(method)}\(", body, re.MULTILINE) is not None


def test_functions_of_the_tour_exist() -> None:
    tour = (ROOT / "docs/architecture.md").read_text().partition("## Tour\n")[2]
    paths = [_STOP.findall(path) for path in tour.split("\n**One ")[1:]]
    assert len(paths) == 3
    assert all(10 <= len(path) <= 18 for path in paths)
    assert all(_NAME.search(stop) for path in paths for stop in path)
    names = {name for path in paths for stop in path for name in _NAME.findall(stop)}
    assert {name for name in names if not exists(name)} == set()
    wrong = ("labeling.annotation.views.nothing", "nothing.save", "labeling.nothing.save", "autosave.Autosave.nothing")
    assert not any(map(exists, wrong))


_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    assert callable(importlib.import_module(f"bench.{name}").main), name
"""


def test_documented_benchmarks_start() -> None:
    """They are imported in a process without Django, which is set up by the last ones. Other modules are parts."""
    modules = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "bench").glob("*.py")}
    documented = set(chain(*(re.findall(r"-m bench\.(\w+)", page.read_text(encoding="utf-8")) for page in PAGES)))
    assert modules.keys() >= documented
    names = sorted(documented, key=lambda name: "set_up_django" in modules[name])
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    subprocess.run([sys.executable, "-c", _IMPORT, *names], cwd=ROOT, env=environment, check=True)
    for part in modules.keys() - documented - {"__init__"}:
        assert any(f"bench.{part}" in text for name, text in modules.items() if name != part), part
