"""Copies of a gate report to keep: what they say, in Markdown and as PDF, whatever people wrote."""

from datetime import UTC, datetime
from pathlib import Path

import pypdfium2
import pytest
from django.conf import settings

from evaluation.gates.display import NumberLine, line_of
from evaluation.printed import Facts, Gates, Heading, Judged, Points, Printed, Say, Table, as_markdown, clean
from evaluation.printed_pdf import REPLACEMENT, as_pdf
from evaluation.services.printing import HASHES_WIDE, SECOND_FONT

MADE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LINE = NumberLine(good=(0.8, 1.0), low=0.3, high=0.9, measured=0.7, limit=0.8)
VERDICT = {
    "gate": {"metric": "schema_valid_rate", "operator": ">=", "threshold": 0.99},
    "measured": 0.95,
    "low": 0.9,
    "high": 0.98,
}


def a_report(*parts: object) -> Printed:
    return Printed("Gate report 3: Invoices", "Gate report 3, kept by mona", tuple(parts))  # type: ignore[arg-type]


def text_of(data: bytes) -> str:
    """The text of every page of a PDF, one after the other."""
    document = pypdfium2.PdfDocument(data)
    return "\n".join(page.get_textpage().get_text_range() for page in document)


def pages_of(data: bytes) -> int:
    return len(pypdfium2.PdfDocument(data))


# -- Markdown ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("99.0 % of line_items[].amount", r"99.0 % of line_items\[\].amount"),
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
    ],
)
def test_what_people_wrote_stays_text(written: str, shown: str) -> None:
    assert shown in as_markdown(a_report(Say(written))).splitlines()
    table = as_markdown(a_report(Table(("head",), ((written,),))))
    assert f"| {shown} |" in table.splitlines()


def test_a_cell_is_one_line_and_a_reason_keeps_its_lines() -> None:
    text = as_markdown(a_report(Table(("a", "b"), (("one\ntwo", "3"),), right=frozenset({1})), Say("one\n\ntwo")))
    assert "| one two | 3 |" in text
    assert "| --- | ---: |" in text
    assert "one  \n  two" in text


def test_every_part_is_there() -> None:
    text = as_markdown(
        a_report(
            Heading("Gates"),
            Say("May ship: no.", "bad"),
            Gates((Judged("At least 99 %", "≥ 99.0 %", "95 %", "90 to 98 %", "FAIL", "Too few", "Label 20 more"),)),
            Points(("first", "second")),
            Facts((("By", "mona"),)),
        )
    )
    for line in (
        "# Gate report 3: Invoices",
        "## Gates",
        "**May ship: no.**",
        "| At least 99 % | ≥ 99.0 % | 95 % (90 to 98 %) | FAIL | Too few. Label 20 more. |",
        "- first",
        "- By: mona",
        "Gate report 3, kept by mona",
    ):
        assert line in text.splitlines()


def test_what_turns_the_direction_or_cannot_be_shown_goes() -> None:
    assert clean("a\u202eb\u2066c\x00\x1b[2J\ud800\u2028d") == "abc[2J\nd"


# -- PDF --------------------------------------------------------------------------------------------------------------


def test_a_pdf_says_what_the_markdown_says() -> None:
    judged = Judged("At least 99 % of outputs", "≥ 99.0 %", "95.0 %", "90.0 to 98.0 %", "FAIL", "Too few", line=LINE)
    data = as_pdf(
        a_report(
            Say("May ship: no.", "bad"),
            Heading("Gates"),
            Gates((judged,), "What the line is."),
            Facts((("Because", "It is a trial."),)),
            Table(("Part", "Hash"), (("Model", "0" * 64),), wide=(1, 3)),
        ),
        made=MADE,
    )
    text = text_of(data).replace("\u00a0", " ")
    for words in ("May ship: no.", "At least 99 % of outputs", "FAIL", "asked ≥ 99.0 %", "Too few.", "It is a trial."):
        assert words in text, words
    assert "0" * 64 in text
    assert "1 / 1" in text
    assert pypdfium2.PdfDocument(data).get_metadata_dict()["Title"] == "Gate report 3: Invoices"


def test_a_long_one_runs_over_pages_with_its_foot_on_each() -> None:
    reason = "It was looked at by two people.\n" * 200
    rows = tuple((f"part {number}", "f" * 64) for number in range(80))
    data = as_pdf(a_report(Facts((("Because", reason),)), Table(("Part", "Hash"), rows)), made=MADE)
    text = text_of(data)
    assert pages_of(data) > 3
    assert text.count("kept by mona") == pages_of(data)
    assert text.count("looked at by two people") == 200
    assert "part 79" in text


def test_no_row_is_too_high_for_a_page() -> None:
    data = as_pdf(a_report(Table(("a", "b", "c", "d"), (("word " * 4000, "x" * 4000, "", ""),))), made=MADE)
    assert "…" in text_of(data)
    judged = Judged("At most " * 200, "≤ 1", "2", "1 to 3", "FAIL", "word " * 300, "word " * 300, LINE)
    assert "FAIL" in text_of(as_pdf(a_report(Gates((judged, judged))), made=MADE))


def test_any_script_can_be_kept_and_what_no_font_has_is_marked() -> None:
    scripts = ["Grüße Ωμέγα Привет", "שלום", "مرحبا", "ไทย", "नमस्ते", "中文審查", "日本語の理由", "한국어", "≥ ✓ 🙂"]
    unassigned = "a\U000e1234b"
    second = Path(settings.BASE_DIR) / SECOND_FONT
    text = text_of(as_pdf(a_report(*map(Say, [*scripts, unassigned])), made=MADE, second_font=second))
    for written in scripts:
        missing = {letter for letter in written if letter.isalpha()} - set(text)
        # Letters are found as they were written, but for those that are drawn as one with a neighbour.
        assert len(missing) <= 1, (written, missing)
    assert f"a{REPLACEMENT}b" in text
    assert text.count(REPLACEMENT) == 1


def test_without_the_second_font_it_is_made_all_the_same(tmp_path: Path) -> None:
    assert "a??b" in text_of(as_pdf(a_report(Say("a中文b")), made=MADE, second_font=tmp_path / "gone.woff"))


# -- the number line --------------------------------------------------------------------------------------------------


def test_the_line_holds_everything_in_its_order() -> None:
    line = line_of(VERDICT)
    assert line is not None
    assert line.measured is not None
    assert 0 <= line.low < line.measured < line.high < line.limit <= 1
    assert line.good == (line.limit, 1.0)


def test_nothing_measured_is_no_line() -> None:
    assert line_of({**VERDICT, "measured": None, "low": None, "high": None}) is None


def test_a_hash_of_wide_letters_stays_on_one_line() -> None:
    one = "da8bb6e02da83b85c6dd4b0097bfc50d5c8549d532b4ee0a5c66d69838a05137"
    rows = (("Training run", one, "now da8bb6e02da8"), ("Gold of the hold-out", f"{one[:-8]}dddddddd", "equal"))
    drawn = text_of(as_pdf(a_report(Table(("Part", "Hash (SHA-256)", "Now"), rows, wide=HASHES_WIDE)), made=MADE))
    lines = drawn.splitlines()
    assert sum(row[1] in line for row in rows for line in lines) == 2
