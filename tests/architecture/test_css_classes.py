"""Every class of a template has a style or is a hook of a script or test, and every style has a user."""

import re
from functools import cache
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)
VENDORED = ("bootstrap/dist/css/bootstrap.min.css", "uplot/dist/uPlot.min.css", "swagger-ui-dist/swagger-ui.css")
_ATTRIBUTE = re.compile(r'\bclass="((?:\{%.*?%\}|\{\{.*?\}\}|[^"])*)"', re.DOTALL)
_TAG = re.compile(r"\{%.*?%\}", re.DOTALL)
#: "badge-{% if done %}good{% else %}bad{% endif %}", "bi-{{ icon }}"
_COMPOSED = re.compile(r"[\w-]*-\{%.*?\{% endif %\}|[\w-]*\{\{.*?\}\}", re.DOTALL)
_NAME = re.compile(r"\.(-?[A-Za-z_][\w-]*)")


def _texts(pattern: str, *folders: str) -> dict[str, str]:
    paths = (path for folder in folders for path in (ROOT / folder).rglob(pattern))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


@cache
def _own_sheets() -> frozenset[str]:
    rules = re.sub(r"/\*.*?\*/|url\([^)]*\)", "", "".join(_texts("*.css", "static/css").values()), flags=re.DOTALL)
    return frozenset(_NAME.findall(rules))


@cache
def _vendored_sheets() -> frozenset[str]:
    rules = "".join((ROOT / "node_modules" / name).read_text(encoding="utf-8") for name in VENDORED)
    return frozenset(_NAME.findall(rules))


def _classes(template: str) -> set[str]:
    """The classes that a template writes out; composed ones are left out."""
    values = (_TAG.sub(" ", _COMPOSED.sub(" ", value)) for value in _ATTRIBUTE.findall(template))
    tokens = (token for value in values for token in value.split())
    return {token for token in tokens if re.fullmatch(r"[A-Za-z][\w-]*", token)}


def test_class_of_template_is_styled_or_hook() -> None:
    styled = _own_sheets() | _vendored_sheets()
    hooks = set(_NAME.findall("".join((_texts("*.js", "static/js") | _texts("*.py", "tests/browser")).values())))
    without = {
        f"{path}: {name}"
        for path, text in _texts("*.html", "templates").items()
        for name in _classes(text) - styled - hooks
        if not name.startswith("bi")
    }
    assert not without


def test_style_is_used() -> None:
    code = "".join(
        (
            _texts("*.html", "templates")
            | _texts("*.js", "static/js")
            | _texts("*.py", "evaluation", "labeling", "serving", "slmstudio", "training")
        ).values()
    )
    words = set(re.findall(r"[A-Za-z][\w-]*", code))
    # A class put together from a fixed start and a value: "mark-{{ tone }}", `series-${number}`.
    starts = tuple(re.findall(r"[\s\"'`>]((?:[a-z]+-)+)(?:\{|\$)", code))
    assert not {name for name in _own_sheets() - _vendored_sheets() - words if not name.startswith(starts)}
