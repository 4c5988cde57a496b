"""What every page's frame needs: the navigation that follows the loop."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse


@dataclass(frozen=True)
class Link:
    """One entry of the navigation. ``key`` is the letter after ``g`` that goes there; ``needs`` the action without
    which it is not shown.
    """

    title: str
    icon: str
    url: str
    key: str
    active: bool
    needs: str = ""


_SECTIONS = [
    ("Overview", "house", "project", "o", ("project",)),
    ("Contract", "file-earmark-code", "contract", "c", ("contract",)),
    ("Documents", "files", "documents", "d", ("document", "import")),
    ("Pre-labels", "magic", "prelabels", "b", ("prelabel", "endpoint")),
    ("Label", "pencil-square", "label", "l", ("label", "mention")),
    ("Review", "check2-square", "review", "r", ("review",)),
    ("Progress", "graph-up", "progress", "p", ("progress",)),
    ("Datasets", "box-seam", "datasets", "s", ("dataset",)),
    ("Benchmark", "speedometer2", "benchmarks", "m", ("benchmark",)),
    ("Training", "cpu", "training", "t", ("training",)),
    ("Evaluation", "bar-chart", "evaluation", "e", ("eval", "compar")),
    ("Gates", "shield-check", "gates", "a", ("gate", "approval")),
    ("Settings", "gear", "settings", "i", ("settings", "member", "webhook")),
]
#: sections that are for some roles alone, with the action of the table they take
_NEEDS = {"settings": "administer"}


def navigation(request: HttpRequest) -> dict[str, Any]:
    """The sections of the project whose page this is; nothing outside a project.

    A view puts its project (as fetched through ``slmstudio.access``) into its context as ``project``; the slug in the
    address is enough for the links.
    """
    match = request.resolver_match
    if match is None or "slug" not in match.kwargs:
        return {"sections": []}
    here = match.url_name or ""
    return {
        "sections": [
            Link(
                title,
                icon,
                reverse(name, args=[match.kwargs["slug"]]),
                key,
                _is_here(here, name, prefixes),
                _NEEDS.get(name, ""),
            )
            for title, icon, name, key, prefixes in _SECTIONS
        ]
    }


def _is_here(here: str, name: str, prefixes: tuple[str, ...]) -> bool:
    if name == "project":
        return here == "project"
    return any(here.startswith(prefix) for prefix in prefixes)
