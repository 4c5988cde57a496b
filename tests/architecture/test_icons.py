"""The style sheet of icons has every icon that a page names, and is small."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders

from slmstudio import navigation
from slmstudio.web import icons

ROOT = Path(settings.BASE_DIR)
DRAWINGS = ROOT / "node_modules/bootstrap-icons/icons"


def made() -> str:
    return Path(str(finders.find(icons.SHEET))).read_text(encoding="utf-8")


def test_every_icon_that_is_named_is_there() -> None:
    there = set(re.findall(r"^\.bi-([a-z0-9-]+) ", made(), re.MULTILINE))
    for path in icons.sources(ROOT):
        text = path.read_text(encoding="utf-8", errors="replace")
        for name in re.findall(r"\bbi bi-([a-z0-9-]+)(?=[\"' ])", text):
            assert (DRAWINGS / f"{name}.svg").is_file(), f"{path} names {name}, which bootstrap-icons does not have"
            assert name in there, f"{path} names {name}"
    assert {section.icon for section in navigation.sections()} <= there
    # Put together from parts in Python, in a template and in a script.
    assert {"house", "exclamation-octagon", "people-fill", "dash"} <= there


def test_another_process_makes_it_concurrently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finder, replace = icons.IconFinder(), Path.replace
    others: list[Path] = []
    finder.folder = tmp_path

    def replaced(path: Path, target: Path) -> Path:
        if not others:
            others.append(path)
            finder.find(icons.SHEET)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    assert finder.find(icons.SHEET) == str(tmp_path / icons.SHEET)
    assert [path.name for path in (tmp_path / icons.SHEET).parent.iterdir()] == ["icons.css"]


def test_a_name_that_is_no_icon_and_hostile_words_are_left_out() -> None:
    assert "bi-" not in icons.sheet(DRAWINGS, {"no-such-thing"}).replace("--bi", "").replace("var(--bi)", "")
    assert icons.named('<i class="bi bi-x-lg"></i> "house"') == {"x-lg"}
    assert "house" in icons.named('icon = "house"')
    assert icons.named("bi bi-{% if one %}dash{% else %}x-lg pip{% endif %}") == {"dash", "x-lg"}
