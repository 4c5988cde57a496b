"""Packages whose modules import each other by name: where the browser finds them.

There is no bundler: a page that uses them has an import map, which maps names to static files.
"""

import json
from pathlib import Path

from django.utils.safestring import SafeString, mark_safe

#: the code editor, and what its modules import: package -> its module
CODE_EDITOR = {
    **{f"@codemirror/{name}": "dist/index.js" for name in (
        "state", "view", "language", "commands", "lint", "autocomplete", "lang-json", "search", "streamparser",
    )},
    **{f"@lezer/{name}": "dist/index.js" for name in ("common", "highlight", "lr", "json")},
    "@marijn/find-cluster-break": "src/index.js",
    "style-mod": "src/style-mod.js",
    "w3c-keyname": "index.js",
    "crelt": "index.js",
}  # fmt: skip


def static_folders(packages: Path) -> list[tuple[str, Path]]:
    """The folders of the modules for ``STATICFILES_DIRS``. ``packages``: ``node_modules``."""
    return [(f"vendor/{name}", (packages / name / module).parent) for name, module in CODE_EDITOR.items()]


def import_map() -> SafeString:
    """The import map of the code editor, as the text of a script element."""
    from django.templatetags.static import static  # the settings import this module

    modules = {name: static(f"vendor/{name}/{Path(module).name}") for name, module in CODE_EDITOR.items()}
    return mark_safe(json.dumps({"imports": modules}).replace("<", "\\u003c"))
