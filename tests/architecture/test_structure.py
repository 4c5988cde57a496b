"""The structure of the code: small apps and packages, no circles between features, no queries in views."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

APPS = ("slmstudio", "labeling", "training", "evaluation", "serving")
MAX_TOP_MODULES = 15
MAX_PACKAGE_MODULES = 20
MAX_LINES = 700
#: modules at the top of an app that tie its features together
WIRING = {"urls", "apps", "admin", "panels", "navigation", "jobs"}


def modules(app: str) -> Iterator[Path]:
    for path in sorted((settings.BASE_DIR / app).rglob("*.py")):
        if not {"migrations", "management"} & set(path.parts):
            yield path


def imports(app: str) -> dict[tuple[str, str], list[str]]:
    """Imports between the features of an app: (from, to) -> the lines."""
    lines: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in modules(app):
        feature = path.relative_to(settings.BASE_DIR / app).parts[0].removesuffix(".py")
        if feature in WIRING:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == app:
                steps = str(node.module).split(".")
                for other in steps[1:2] or [alias.name for alias in node.names]:
                    if other != feature:
                        lines[feature, other].append(f"{path.relative_to(settings.BASE_DIR)}:{node.lineno}")
    return lines


@pytest.mark.parametrize("app", APPS)
def test_features_do_not_import_each_other(app: str) -> None:
    lines = imports(app)
    circles = {(a, b): lines[a, b] for a, b in lines if (b, a) in lines and a < b}
    assert circles == {}


@pytest.mark.parametrize("app", APPS)
def test_apps_and_packages_are_small(app: str) -> None:
    top = settings.BASE_DIR / app
    assert len([path for path in top.glob("*.py") if path.stem not in ("__init__", "__main__")]) <= MAX_TOP_MODULES
    packages = {path.parent for path in modules(app)} - {top}
    sizes = {str(p): len([path for path in p.glob("*.py") if path.stem != "__init__"]) for p in packages}
    assert {name: size for name, size in sizes.items() if size > MAX_PACKAGE_MODULES} == {}


@pytest.mark.parametrize("app", APPS)
def test_files_are_short(app: str) -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in modules(app)}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}
