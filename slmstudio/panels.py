"""Panels: content that higher apps add to pages of lower apps, without imports.

Each app names the modules of its panels when Django starts (``AppConfig.ready``). As most processes show no page, they
are imported with the first one. A panel is a function from the object of the page to a template name and its context,
or None if there is nothing to show.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from django.contrib.auth.models import User
from django.db.models import Model

Place = Literal["home", "document", "dataset"]
Panel = Callable[..., "PanelContent | None"]


@dataclass(frozen=True)
class PanelContent:
    """A rendered panel's template and context."""

    template: str
    context: dict[str, Any]


@dataclass(frozen=True)
class NextStep:
    """The next step of a user: a sentence, the label of the button and its URL."""

    text: str
    button: str
    url: str


_panels: dict[Place, list[tuple[int, Panel]]] = {"home": [], "document": [], "dataset": []}
_steps: list[tuple[int, Callable[..., "NextStep | None"]]] = []


#: not imported yet
_modules: list[str] = []


def include(module: str) -> None:
    """Names a module whose functions are panels or next steps."""
    _modules.append(module)


def _load() -> None:
    while _modules:
        importlib.import_module(_modules[0])
        _modules.pop(0)


def register(place: Place, order: int) -> Callable[[Panel], Panel]:
    """Decorator: shows the function's panel at ``place``; a lower ``order`` comes first."""

    def add(panel: Panel) -> Panel:
        _panels[place].append((order, panel))
        _panels[place].sort(key=lambda item: item[0])
        return panel

    return add


def next_step(order: int) -> Callable[[Callable[..., "NextStep | None"]], Callable[..., "NextStep | None"]]:
    """Decorator: the function (project, user) may return a next step; a lower ``order`` comes first."""

    def add(step: Callable[..., "NextStep | None"]) -> Callable[..., "NextStep | None"]:
        _steps.append((order, step))
        _steps.sort(key=lambda item: item[0])
        return step

    return add


def render_panels(place: Place, *args: Any) -> list[PanelContent]:
    """The panels of a place, for a project (home), a document or a dataset version, and a user."""
    _load()
    return [content for _, panel in _panels[place] if (content := panel(*args)) is not None]


def next_steps_for(project: Model, user: User, limit: int = 3) -> list[NextStep]:
    """The next steps of this user, what matters most first; each address once."""
    _load()
    steps: dict[str, NextStep] = {}
    for _, ask in _steps:
        step = ask(project, user)
        if step is not None:
            steps.setdefault(step.url, step)
        if len(steps) == limit:
            break
    return list(steps.values())
