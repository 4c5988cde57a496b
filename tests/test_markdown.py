"""Values in Markdown files stay plain text, and every template escapes them."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from slmstudio.web.markdown import code, escape_line, escape_lines, printable


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("99.0% of line_items[].amount", r"99.0% of line_items\[\].amount"),
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("![x](http://evil)", r"!\[x\](http://evil)"),
        ("*bold* _it_ `code` ~~no~~", r"\*bold\* \_it\_ \`code\` \~\~no\~\~"),
        ("# no head", r"\# no head"),
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("=====", r"\====="),
        ("-0.5 points", "-0.5 points"),
        ("R&D &lt;", r"R&D \&lt;"),
        ("a | b", r"a \| b"),
        ("one\ntwo", "one two"),
        ("$x$", r"\$x\$"),
    ],
)
def test_syntax_is_escaped(written: str, shown: str) -> None:
    assert escape_line(written) == shown


def test_line_breaks_are_kept() -> None:
    assert escape_lines("one\n\n# two") == "one  \n  \\# two"


def test_code_is_escaped_in_tables() -> None:
    assert code("x`|y\nz") == r"`x'\|y z`"


def test_control_characters_and_direction_overrides_are_removed() -> None:
    assert printable("a\u202eb\u2066c\x00\x1b[2J\ud800\u2028d") == "abc[2J\nd"


#: filters whose results are numbers, dates, choices of the template or escaped
SAFE = re.compile(
    r"\|(md|md_lines|md_code|percent(:0)?|money(_range|_interval)?:[\w.]+|number(:\d)?|p_value|exact_percent|rate_interval|share:[\w.]+|points|milliseconds"
    r"|length|add:[\w.]+|date_time|full_date|pluralize(:.+)?|yesno:.+)$"
)
#: values that are numbers or hashes of our own
NUMBERS = re.compile(
    r"^(count|number|evaluations|approval\.manifest_sha256)$"
    r"|\.(number|documents|human|more|broken|fixed|n|right|wrong|unchecked|holdout_number|change|events|requests|[ab])$"
    r"|\.(fields|documents)_[ab]$|^counts\.\w+$"
    r"|^content\.(certificate|alpha|margin|drawn|pairs|planned_pairs|families|attempt|replayed|labels_from_proposals)$"
)


@pytest.mark.parametrize(
    "path", sorted((Path(settings.BASE_DIR) / "templates").rglob("*.md")), ids=lambda path: path.name
)
def test_every_value_in_a_template_is_escaped_or_a_number(path: Path) -> None:
    values = [value.strip() for value in re.findall(r"{{(.*?)}}", path.read_text())]
    assert values
    assert [value for value in values if not SAFE.search(value) and not NUMBERS.search(value)] == []
