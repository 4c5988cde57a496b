"""The table of CONTRIBUTING.md, and the paths of tests that pages of the documentation name, lead to what exists."""

import re
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
#: a quoted path: several names with slashes, or one name with an ending
_PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*|[\w-]+\.(?:py|js|html|md))`")


def rows() -> list[tuple[str, str]]:
    """What is changed, and the cell that says where."""
    table = re.findall(r"^\| (.+?) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return [(change, places) for change, places in table if change != "A change to ..."]


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


def test_every_path_of_the_table_exists() -> None:
    assert len(rows()) > 40
    assert [(change, lost) for change, places in rows() if (lost := missing(places))] == []


PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`(tests/[\w./-]+)`", page.read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_a_wrong_path_is_noticed() -> None:
    assert missing("`slmstudio/stack/`, and `valkey.py` in it; `slmstudio/nothing.py`") == ["slmstudio/nothing.py"]
