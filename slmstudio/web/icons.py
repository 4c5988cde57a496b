"""The icons of the pages as one small style sheet, ``css/icons.css``, with the bootstrap-icons that the source names.

The whole font is 134 KB and its style sheet 87 KB; the pages use some dozens of two thousand icons. The markup is that
of the font: ``<i class="bi bi-house">``. In a checkout the sheet is generated when static files are listed or
collected, and again whenever a source file is newer, so that an icon only needs to be named. A wheel contains it.
"""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage

from slmstudio.storage import installation

SHEET = "css/icons.css"
_FOLDERS = ("templates", "static/js", "slmstudio", "labeling", "training", "evaluation", "serving")
_ENDINGS = {".html", ".js", ".py"}
_NAMED = re.compile(r"\bbi-([a-z0-9]+(?:-[a-z0-9]+)*)")
_QUOTED = re.compile(r"""["']([a-z0-9]+(?:-[a-z0-9]+)*)["']""")
#: an icon that a template chooses: ``bi-{% if done %}check-lg{% else %}dash{% endif %}``
_CHOSEN = re.compile(r"\bbi-\{%.*?\{% endif %\}", re.DOTALL)
_BRANCH = re.compile(r"%\}([a-z0-9]+(?:-[a-z0-9]+)*)")
#: names may be assembled, so every quoted word of a file that mentions icons may be one
_MENTIONS_ICONS = re.compile(r"""bi-(?:\$\{|\{\{|\{\})|\bicons?\b""", re.IGNORECASE)
_BASE = """.bi::before { content: ""; display: inline-block; width: 1em; height: 1em; vertical-align: -.125em; \
background: currentColor; -webkit-mask: var(--bi) center / contain no-repeat; \
mask: var(--bi) center / contain no-repeat; }
@media (forced-colors: active) { .bi::before { forced-color-adjust: none; background: CanvasText; } }
"""


def sources(root: Path) -> list[Path]:
    """The files that may name an icon."""
    files = (path for folder in _FOLDERS for path in (root / folder).rglob("*"))
    return sorted(path for path in files if path.suffix in _ENDINGS and path.is_file())


def named(text: str) -> set[str]:
    """Words of a file that may be names of icons."""
    names = set(_NAMED.findall(text))
    names.update(name for choice in _CHOSEN.findall(text) for name in _BRANCH.findall(choice))
    return names | set(_QUOTED.findall(text)) if _MENTIONS_ICONS.search(text) else names


def sheet(icons: Path, names: set[str]) -> str:
    """The style sheet of these icons; unknown names are skipped."""
    rules = [_BASE]
    for name in sorted(names):
        drawing = icons / f"{name}.svg"
        if drawing.is_file():
            rules.append(f'.bi-{name} {{ --bi: url("data:image/svg+xml,{_inline(drawing.read_text())}"); }}\n')
    return "".join(rules)


def _inline(svg: str) -> str:
    """A minified drawing, escaped for a data URL inside double quotes."""
    svg = re.sub(r' (?:width|height|fill|class)="[^"]*"', "", svg.split(">", 1)[0]) + ">" + svg.split(">", 1)[1]
    svg = re.sub(r">\s+<", "><", svg.strip()).replace('"', "'")
    return quote(svg, safe=" =:/'(),;!*@&+$-_.~?")


class IconFinder(BaseFinder):
    """Finds ``css/icons.css``, and generates it if it is missing or older than its sources."""

    def __init__(self, app_names: Any = None, *args: Any, **kwargs: Any) -> None:
        self.root = Path(settings.BASE_DIR)
        self.folder = Path(settings.HOME) / "icons"
        self.storage = FileSystemStorage(location=self.folder)
        self.storage.prefix = ""  # type: ignore[attr-defined]  # what collectstatic asks every storage for

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        """The sheet's file for its own path; else nothing."""
        if path != SHEET or not installation.IS_CHECKOUT:
            return []
        made = str(self._made())
        return [made] if find_all else made

    def list(self, ignore_patterns: Any) -> Iterator[tuple[str, FileSystemStorage]]:
        """The only file of this finder."""
        if installation.IS_CHECKOUT:
            self._made()
            yield SHEET, self.storage

    def _made(self) -> Path:
        target = self.folder / SHEET
        files = sources(self.root)
        newest = max((path.stat().st_mtime for path in files), default=0)
        if target.is_file() and target.stat().st_mtime > newest:
            return target
        names: set[str] = set()
        for path in files:
            names |= named(path.read_text(encoding="utf-8", errors="replace"))
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several processes may start concurrently; none may serve half a file.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, delete=False) as file:
            file.write(sheet(self.root / "node_modules/bootstrap-icons/icons", names))
        Path(file.name).replace(target)
        return target
