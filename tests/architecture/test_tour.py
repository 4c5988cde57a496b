"""The tour of docs/architecture.md names functions that exist."""

import ast
import re

import pytest
from django.conf import settings

from tests.architecture.test_structure import APPS

SCRIPTS = settings.BASE_DIR / "static" / "js" / "annotation"
#: a list entry, with its further lines
_STOP = re.compile(r"^\d+\. .+(?:\n   .+)*", re.MULTILINE)
_NAME = re.compile(r"`([a-z_]+(?:\.#?\w+)+)`")


def paths() -> list[list[str]]:
    """The stops of each path."""
    tour = (settings.BASE_DIR / "docs" / "architecture.md").read_text().partition("## Tour\n")[2]
    return [_STOP.findall(path) for path in tour.split("\n**One ")[1:]]


NAMES = [name for path in paths() for stop in path for name in _NAME.findall(stop)]


def exists(name: str) -> bool:
    """Whether a function, or a method of a class, is defined in the module that its name begins with."""
    steps = name.split(".")
    return is_python(steps) if steps[0] in APPS else is_script(*steps)


def is_python(steps: list[str]) -> bool:
    files = [(settings.BASE_DIR.joinpath(*steps[:end]).with_suffix(".py"), steps[end:]) for end in range(len(steps))]
    file, names = next(((file, names) for file, names in reversed(files) if file.is_file()), (None, []))
    nodes: list[ast.stmt] = [] if file is None else ast.parse(file.read_text()).body
    definition: ast.AST | None = None
    for name in names:
        definitions = (node for node in nodes if getattr(node, "name", "") == name)
        definition = next(definitions, None)
        nodes = getattr(definition, "body", [])
    return isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)


def is_script(module: str, name: str, method: str = "") -> bool:
    file = SCRIPTS / f"{module}.js"
    text = file.read_text() if file.is_file() else ""
    if not method:
        return f"export function {name}(" in text
    body = text.partition(f"export class {name} {{\n")[2].partition("\n}\n")[0]
    return re.search(rf"^  (?:async )?{re.escape(method)}\(", body, re.MULTILINE) is not None


def test_the_tour_has_three_paths() -> None:
    lengths = [len(path) for path in paths()]
    assert len(lengths) == 3
    assert all(10 <= length <= 18 for length in lengths)
    assert all(_NAME.search(stop) for path in paths() for stop in path)


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_the_tour_exist(name: str) -> None:
    assert exists(name)


@pytest.mark.parametrize(
    "name",
    ["labeling.annotation.views.nothing", "nothing.save", "labeling.nothing.save", "autosave.Autosave.nothing"],
)
def test_a_wrong_name_is_noticed(name: str) -> None:
    assert not exists(name)
