"""A report to keep as PDF, on A4. Pure: the parts of ``evaluation.printed`` in, bytes out.

Text is set in FiraGO (Latin, Cyrillic, Greek, Arabic, Hebrew, Thai, Georgian, Devanagari), shaped and in its own
direction. Letters that it lacks are taken from a second font that has nearly all there are; what neither has is shown
as a mark of replacement, never left out.
"""

import logging
import tempfile
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from fontTools.ttLib import TTFont
from fpdf import FPDF, FontFace
from fpdf.enums import MethodReturnValue, TableBordersLayout, VAlign, XPos, YPos
from fpdf.fonts import TTFFont

from evaluation.gates.display import NumberLine
from evaluation.printed import Facts, Gates, Heading, Judged, Part, Points, Printed, Say, Table, clean

Colour = tuple[int, int, int]
INK, SOFT, LINE = (27, 36, 48), (88, 99, 111), (223, 227, 232)
GOOD, BAD, WARN = (26, 115, 64), (179, 38, 30), (133, 83, 0)
PALE_GOOD, PALE_BAD, PALE_WARN = (227, 244, 234), (251, 233, 231), (253, 241, 216)
TONES: dict[str, Colour] = {"good": GOOD, "bad": BAD, "warn": WARN, "quiet": SOFT}
#: verdict -> its colours, and the corners of its shape around the middle; none: a circle
VERDICTS: dict[str, tuple[Colour, Colour, tuple[tuple[float, float], ...]]] = {
    "PASS": (GOOD, PALE_GOOD, ()),
    "FAIL": (BAD, PALE_BAD, ((-1.2, -1.2), (1.2, -1.2), (1.2, 1.2), (-1.2, 1.2))),
    "NOT PROVEN": (WARN, PALE_WARN, ((0, -1.6), (1.6, 0), (0, 1.6), (-1.6, 0))),
}
SIDE, TOP, BOTTOM = 18.0, 16.0, 22.0
GAP = 5.0
#: widths of a gate's three columns, in millimetres; together as wide as the page between its sides
SAID, MEASURED, VERDICT = 86.0, 56.0, 32.0
#: characters; a row is never over two pages, so that none may be as high as one
LONGEST_CELL = 400
#: the tables of a font that drawing takes
LETTERS = {"GlyphOrder", "head", "hhea", "maxp", "hmtx", "cmap", "loca", "glyf", "name", "post", "OS/2"}
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# It tells of every table of a font that it leaves out.
logging.getLogger("fontTools").setLevel(logging.ERROR)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where fonts lie as the shaper reads them, which takes files; it goes when the process ends."""
    return tempfile.TemporaryDirectory(prefix="slm-fonts-", ignore_cleanup_errors=True)


@cache
def _firago() -> tuple[Path, Path]:
    """FiraGO, regular and bold."""
    from pymupdf_fonts import FiraGO_Bold, FiraGO_Regular

    regular, bold = Path(_folder().name) / "regular.ttf", Path(_folder().name) / "bold.ttf"
    regular.write_bytes(FiraGO_Regular.fontbuffer)
    bold.write_bytes(FiraGO_Bold.fontbuffer)
    return regular, bold


@cache
def _bare(path: Path) -> Path:
    """A font with nothing but its letters: what else is in UnifontEX cannot all be read, and would end the making."""
    bare = Path(_folder().name) / "second.ttf"
    with TTFont(path, lazy=True, recalcTimestamp=False) as font:
        for table in set(font.keys()) - LETTERS:
            if table in font:
                del font[table]
        font.flavor = None
        font.save(bare)
    return bare


def as_pdf(printed: Printed, *, made: datetime, second_font: Path | None = None) -> bytes:
    """The report as a PDF file. ``second_font``: for letters that the first lacks; read only where there are some."""
    pages = _Pages(printed, made, second_font)
    for part in printed.parts:
        pages.put(part)
    return bytes(pages.output())


def _texts(value: Any) -> Iterator[str]:
    """Every text in the parts of a report."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts(item)
    elif is_dataclass(value):
        for one in fields(value):
            yield from _texts(getattr(value, one.name))


class _Pages(FPDF):
    """The pages under the pen."""

    def __init__(self, printed: Printed, made: datetime, second_font: Path | None) -> None:
        super().__init__(format="A4")
        regular, bold = _firago()
        self.add_font("firago", "", regular)
        self.add_font("firago", "B", bold)
        self._lacking: dict[int, str] = {}
        self._add_second(printed, second_font)
        # Without kerning, because letters that are moved by hairs are read back as words in pieces, and without
        # ligatures, because a hash is compared letter by letter.
        self.set_text_shaping(True, features={"kern": False, "liga": False})
        self.set_title(clean(printed.title))
        self.set_creator("SLM Studio")
        self.set_creation_date(made)
        self.set_lang("en")
        self.set_margins(SIDE, TOP)
        self.c_margin = 0
        self.set_auto_page_break(True, margin=BOTTOM)
        self._foot = printed.foot
        self.add_page()
        self.start_section(self.text_of(printed.title))
        self.say(printed.title, size=15, bold=True, after=2)

    def _add_second(self, printed: Printed, path: Path | None) -> None:
        """Adds the second font where the first lacks letters; of what neither has, notes what stands in its place."""
        used = {ord(letter) for text in _texts(printed) for letter in clean(text)} - {ord("\n")}
        lacking = used - set(self._cmap("firago"))
        if lacking and path is not None and path.is_file():
            self.add_font("second", "", _bare(path))
            self.set_fallback_fonts(["second"], exact_match=False)
            lacking -= set(self._cmap("second"))
        self._lacking = dict.fromkeys(lacking, REPLACEMENT if "second" in self.fonts else "?")

    def _cmap(self, name: str) -> dict[int, str]:
        font = self.fonts[name]
        assert isinstance(font, TTFFont)
        return font.cmap

    def text_of(self, text: str) -> str:
        """A text in letters that can be drawn; a number stays on the line of its unit."""
        return clean(text).translate(self._lacking).replace(" %", "\N{NO-BREAK SPACE}%")

    def footer(self) -> None:
        """What it is and which page, below every page."""
        self.set_xy(SIDE, -14)  # a list may have moved the margin
        self._pen(7.5, SOFT)
        self.cell(SAID + MEASURED, 4, self.text_of(self._foot))
        self.cell(0, 4, f"{self.page_no()} / {{nb}}", align="R")

    def put(self, part: Part) -> None:
        """Draws one part below what is there."""
        match part:
            case Heading():
                self._heading(part.text)
            case Say():
                strong = part.tone in ("strong", "good", "bad")
                self.say(part.text, size=11 if strong else 9.5, bold=strong, colour=TONES.get(part.tone, INK))
            case Points():
                for item in part.items:
                    self._hanging("•", 4, item)
                self.ln(1.5)
            case Facts():
                for name, value in part.rows:
                    self._hanging(name, 36, value, soft=True)
                self.ln(1.5)
            case Table():
                self._table(part)
            case Gates():
                for row in part.rows:
                    self._gate(row)
                if part.legend:
                    self.say(part.legend, size=7.5, colour=SOFT)

    # -- parts --------------------------------------------------------------------------------------------------------

    def _pen(self, size: float, colour: Colour = INK, bold: bool = False) -> None:
        self.set_font("firago", "B" if bold else "", size)
        self.set_text_color(*colour)

    def say(
        self, text: str, *, size: float = 9.5, colour: Colour = INK, bold: bool = False, after: float = 1.5
    ) -> None:
        """A paragraph over the whole width."""
        self._pen(size, colour, bold)
        self.multi_cell(0, size * 0.48, self.text_of(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(after)

    def _heading(self, text: str) -> None:
        if self.will_page_break(24):  # a head alone at the foot of a page
            self.add_page()
        else:
            self.ln(3)
        self.start_section(self.text_of(text), level=1)
        self.say(text, size=11.5, bold=True)

    def _hanging(self, name: str, width: float, text: str, *, soft: bool = False) -> None:
        """A text beside its name, the lines of which begin below each other."""
        height = self._height(text, self.epw - width, 9.5)
        if self.will_page_break(min(height, 40)):
            self.add_page()
        top = self.get_y()
        self._pen(9.5, SOFT if soft else INK)
        self.multi_cell(width, 4.6, self.text_of(name), align="L", new_x=XPos.RIGHT, new_y=YPos.TOP)
        self.set_xy(SIDE + width, top)
        self._pen(9.5)
        # Where a long text runs over the page, its lines begin at the margin: the left one is moved for so long.
        self.set_left_margin(SIDE + width)
        self.multi_cell(0, 4.6, self.text_of(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_left_margin(SIDE)
        self.set_x(SIDE)

    def _height(self, text: str, width: float, size: float, *, bold: bool = False, line: float = 0.484) -> float:
        self._pen(size, bold=bold)
        found = self.multi_cell(
            width, size * line, self.text_of(text), align="L", dry_run=True, output=MethodReturnValue.HEIGHT
        )
        return float(found)  # type: ignore[arg-type]

    def _table(self, part: Table) -> None:
        self._pen(8.5)
        self.set_draw_color(*LINE)
        self.set_fill_color(255, 255, 255)
        with self.table(
            width=self.epw,
            col_widths=part.wide or tuple(1 for _ in part.head),
            text_align=tuple("RIGHT" if place in part.right else "LEFT" for place in range(len(part.head))),
            borders_layout=TableBordersLayout.HORIZONTAL_LINES,
            headings_style=FontFace(color=SOFT, size_pt=7.5),
            line_height=4.2,
            v_align=VAlign.T,
            padding=(0.8, 3, 0.8, 0),
        ) as table:
            for cells in (part.head, *part.rows):
                row = table.row()
                for cell in cells:
                    row.cell(self.text_of(cell if len(cell) <= LONGEST_CELL else f"{cell[:LONGEST_CELL]}…"))
        self.ln(2.5)

    def _gate(self, row: Judged) -> None:
        """Title and sentence, what was measured with its line, verdict: side by side, never over two pages."""
        words, price = f"{row.words}.", f"{row.price}." if row.price else ""
        left = self._height(row.title, SAID, 9.5, bold=True) + self._height(words, SAID, 8.5)
        left += self._height(price, SAID, 8.5, bold=True) if price else 0
        height = max(left, 15.0) + 3
        if self.will_page_break(height + 2):
            self.add_page()
        top = self.get_y() + 1.5
        self.set_draw_color(*LINE)
        self.line(SIDE, self.get_y(), SIDE + self.epw, self.get_y())
        self._at(SIDE, top, SAID, row.title, 9.5, bold=True)
        self._at(SIDE, self.get_y(), SAID, words, 8.5, colour=SOFT)
        if price:
            self._at(SIDE, self.get_y(), SAID, price, 8.5, bold=True)
        x = SIDE + SAID + GAP
        self._at(x, top, MEASURED - GAP, row.measured, 9.5, bold=True)
        beside = f"{row.bounds}; asked {row.asked}" if row.bounds else f"asked {row.asked}"
        self._at(x, self.get_y(), MEASURED - GAP, beside, 8, colour=SOFT)
        if row.line is not None:
            self._line(row.line, x, self.get_y() + 1, MEASURED - GAP)
        self._verdict(row.status, SIDE + SAID + MEASURED + GAP, top)
        self.set_xy(SIDE, top + height - 1.5)

    def _at(self, x: float, y: float, width: float, text: str, size: float, **how: Any) -> None:
        self.set_xy(x, y)
        self._pen(size, how.get("colour", INK), how.get("bold", False))
        self.multi_cell(width, size * 0.484, self.text_of(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def _line(self, line: NumberLine, x: float, y: float, width: float) -> None:
        """The number line: the side that passes, the bounds, what was measured, the threshold."""

        def bar(start: float, end: float, top: float, tall: float, colour: Colour) -> None:
            self.set_fill_color(*colour)
            self.rect(x + start * width, y + top, max((end - start) * width, 0.35), tall, style="F")

        bar(*line.good, 0.6, 3.4, PALE_GOOD)
        bar(0, 1, 2.2, 0.2, LINE)
        bar(line.low, line.high, 1.8, 1.0, (138, 148, 160))
        if line.measured is not None:
            bar(line.measured - 0.007, line.measured + 0.007, 1.1, 2.4, INK)
        bar(line.limit - 0.004, line.limit + 0.004, 0, 4.6, GOOD)

    def _verdict(self, status: str, x: float, y: float) -> None:
        """The verdict as word and shape."""
        ink, ground, corners = VERDICTS.get(status, (SOFT, LINE, ()))
        self.set_fill_color(*ground)
        self.rect(x, y - 0.3, VERDICT - GAP, 5.4, style="F", round_corners=True, corner_radius=2.6)
        self.set_fill_color(*ink)
        if corners:
            self.polygon([(x + 3.4 + across, y + 2.4 + down) for across, down in corners], style="F")
        else:
            self.circle(x + 3.4, y + 2.4, 1.35, style="F")
        self.set_xy(x + 6, y)
        self._pen(7.5, ink, bold=True)
        self.cell(VERDICT - GAP - 6, 4.8, status)
