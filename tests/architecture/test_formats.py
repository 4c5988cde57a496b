"""Numbers and times are formatted by slmstudio.text.formatting, its filters and static/js/site/format.js only."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
APPS = ("evaluation", "labeling", "serving", "slmstudio", "training")
#: where formats are defined, and sample documents
ALLOWED = (
    "slmstudio/text/formatting.py",
    "static/js/site/format.js",
    "labeling/demo/sample_layouts.py",
    "labeling/demo/sample_words.py",
    "training/ml/llama_cpp/runtime.py",
)
_SPACED_PERCENT = re.compile(r"(?<=[\d}])(?:[ \u00a0\u202f]|&nbsp;)%(?![%(\w}])")
_OWN_PERCENT = re.compile(r"[{(]100 \* [^{}]*\}%|:\.?\d?%\}")
_OWN_DATE = re.compile(r":%[YBbdHI][^}\"]*\}")
_OWN_FILTER = re.compile(r"\|(?:date|time|timesince|timeuntil|naturaltime|naturalday|filesizeformat)\b")
_FLOAT = re.compile(r"\|floatformat(?!:'-\du'|:0\|pluralize)")
_OWN_SCRIPT = re.compile(r"toLocale\w*String|Intl\.NumberFormat|\.toFixed\(\d\)\} ?(?:%|ms|s|[KMG]B)\b|\}[ \u00a0]%`")


def _offences(pattern: re.Pattern[str], suffix: str, *folders: str) -> Iterator[str]:
    for path in (path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}")):
        name = str(path.relative_to(ROOT))
        if name.startswith(ALLOWED) or "/migrations/" in name or "/vendor/" in name:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                yield f"{name}:{number}: {line.strip()[:120]}"


@pytest.mark.parametrize(
    ("pattern", "suffix", "folders"),
    [
        (_SPACED_PERCENT, ".html", ("templates",)),
        (_SPACED_PERCENT, ".md", ("templates", "docs")),
        (_SPACED_PERCENT, ".py", APPS),
        (_OWN_PERCENT, ".py", APPS),
        (_OWN_DATE, ".py", APPS),
        (_OWN_FILTER, ".html", ("templates",)),
        (_OWN_FILTER, ".md", ("templates",)),
        (_FLOAT, ".html", ("templates",)),
        (_FLOAT, ".md", ("templates",)),
        (_OWN_SCRIPT, ".js", ("static/js",)),
    ],
)
def test_format_is_not_hand_made(pattern: re.Pattern[str], suffix: str, folders: tuple[str, ...]) -> None:
    assert list(_offences(pattern, suffix, *folders)) == []
