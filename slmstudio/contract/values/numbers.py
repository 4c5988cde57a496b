"""Numbers and amounts of money as people write them, read exactly into Decimal."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

from slmstudio.contract.json_text import MAX_DIGITS
from slmstudio.contract.values.currencies import currencies

_SPACES = "\u0020\u00a0\u202f\u2009"
_DIGITS = rf"\d(?:[\d.,'’{_SPACES}]*\d)?"
_CURRENCY = r"(?:[$€£¥₹₩₽₺₫₴₱฿₦₪]|[A-Z]{1,3}[$€£]|(?<![^\W\d_])(?:[A-Z]{2,3}|Rs|rs|[Kk]r|Fr|zł|Kč)\.?(?![^\W\d_]))"
_SIGN = r"[-−–+]"
_WHOLE = re.compile(
    rf"\s*(?P<open>\()?\s*(?P<sign1>{_SIGN})?\s*(?:{_CURRENCY})?\s*(?P<sign2>{_SIGN})?\s*(?P<core>{_DIGITS}|\d*\.\d+)"
    rf"(?:[.,]-)?\s*(?P<sign3>[-−])?\s*(?:%|{_CURRENCY})?\s*(?P<close>\))?\s*"
)
_CORE = re.compile(
    rf"(?:\d(?<![\d.,].)\d{{0,2}}(?:[,.'’{_SPACES}]\d{{2,3}})+(?!\d)(?:[.,]\d+)?|\d(?<![\d.,].)\d*(?:[.,]\d+)?"
    r"|\.(?<![\d.,].)\d+)(?:(?=[xX](?!\w))|(?!\w|[.,]\w))"
)
_GLUED = re.compile(r"(?<![^\W_])(?:[A-Za-z]{2,3}|[xX])$")
_BEFORE = re.compile(rf"(?:\(\s?)?(?:{_SIGN}\s?)?(?P<unit>{_CURRENCY})?\s?(?:{_SIGN})?$")
_AFTER = re.compile(r"^(?:[-−](?!\w))?(?:\s?(?P<unit>[$€£¥₹]|(?:[A-Z]{3})(?!\w|\s?\d)))?(?:\s?\))?")
_SIGN_BEFORE, _SIGN_AFTER = re.compile(rf"\D*(?:\(|{_SIGN})\s*"), re.compile(r"\s*[)\-−]\D*$")
_GROUPED = {
    ".": re.compile(rf"\d{{1,3}}(?:(?P<g>[,'’{_SPACES}])\d{{3}}(?:(?P=g)\d{{3}})*|(?:,\d{{2}})*,\d{{3}})(?:\.\d+)?"),
    ",": re.compile(rf"\d{{1,3}}(?P<g>[.'’{_SPACES}])\d{{3}}(?:(?P=g)\d{{3}})*(?:,\d+)?"),
}
_BLANK = re.compile(f"[{_SPACES}]")
_BETWEEN_BLANKS = re.compile(rf"[^{_SPACES}]+")
_BARE = {".": re.compile(r"\d*\.\d+|\d+"), ",": re.compile(r"\d*,\d+|\d+")}


@lru_cache(maxsize=64)
def decimal_mark(locale: str) -> str:
    """The decimal mark of a locale, "." or ","; "." if none is declared."""
    if not locale:
        return "."
    from babel.numbers import get_decimal_symbol

    return "," if get_decimal_symbol(locale.replace("-", "_")) == "," else "."


@lru_cache(maxsize=8192)
def core_readings(core: str, locale: str = "") -> tuple[Decimal, ...]:
    """Possible values of digits with separators: by the locale's marks, then by the other (1.248: 1.248 or 1248)."""
    if len(core) > 2 * MAX_DIGITS:
        return ()
    first = decimal_mark(locale)
    values: list[Decimal] = []
    for mark in (first, "," if first == "." else "."):
        if not (_GROUPED[mark].fullmatch(core) or _BARE[mark].fullmatch(core)):
            continue
        plain = "".join(letter for letter in core if letter.isdigit() or letter == mark).replace(mark, ".")
        value = Decimal(plain)
        if sum(letter.isdigit() for letter in plain) <= MAX_DIGITS and value not in values:
            values.append(value)
    return tuple(values)


def parse(text: str, locale: str = "", *, accounting: bool = True) -> Decimal | None:
    """The number of a text that is only a number, with or without a currency, sign or percent sign; else None.

    ``12.50-`` is negative, and with ``accounting`` ``(12.50)`` is, too. Marks that contradict the locale are read
    the other way round (``12,50`` is 12.50 under en_US).
    """
    match = _WHOLE.fullmatch(text) if len(text) <= 200 else None
    if not match or bool(match["open"]) != bool(match["close"]):
        return None
    values = core_readings(match["core"], locale)
    if not values:
        return None
    signs = [match[name] for name in ("sign1", "sign2", "sign3")]
    negative = (accounting and bool(match["open"])) or any(sign and sign != "+" for sign in signs)
    return values[0].copy_negate() if negative else values[0]


@lru_cache(maxsize=64)
def _cores(text: str, locale: str) -> tuple[tuple[int, int, tuple[Decimal, ...]], ...]:
    """Every run of digits in a text that is a number, as (start, end, readings) without sign or currency."""
    cores = []
    for match in _CORE.finditer(text):
        start, core = match.start(), match[0]
        inside_word = start > 0 and (text[start - 1].isalnum() or text[start - 1] == "_")
        if inside_word and not _GLUED.search(text, max(0, start - 4), start):
            # RM9.90 and USD12 are amounts, x2 is a number of pieces, A1029 is neither; of "M8 25" the 25 is a number.
            blank = _BLANK.search(core)
            if blank is None:
                continue
            start, core = start + blank.end(), core[blank.end() :]
        for left, right, values in _readable(core, locale):
            cores.append((start + left, start + right, values[:1] if locale else values))
    return tuple(cores)


def _readable(core: str, locale: str) -> list[tuple[int, int, tuple[Decimal, ...]]]:
    """A run of digits as one number; if it is not one, as the numbers between its blanks: columns one blank apart."""
    if values := core_readings(core, locale):
        return [(0, len(core), values)]
    parts = _parts(core, locale)
    return [part for part in parts if part[2]] if len(parts) > 1 else []


def _parts(core: str, locale: str) -> list[tuple[int, int, tuple[Decimal, ...]]]:
    return [(part.start(), part.end(), core_readings(part[0], locale)) for part in _BETWEEN_BLANKS.finditer(core)]


def scan(text: str, locale: str = "", *, accounting: bool = True) -> list[tuple[int, int, tuple[Decimal, ...]]]:
    """Every number in a text as (start, end, readings), currency and sign included in the span; with ``accounting``
    brackets are a sign.

    Without a locale both readings of a mark are returned, with one only the locale's if it is possible.
    """
    hits = []
    for core in _cores(text, locale):
        start, end, negative = _widen(text, core[0], core[1], accounting=accounting)
        values = core[2]
        hits.append((start, end, tuple(value.copy_negate() for value in values) if negative else values))
    return hits


def find(value: Decimal, text: str, locale: str = "", *, accounting: bool = True) -> list[tuple[int, int, bool]]:
    """The occurrences of a number with this absolute value, as (start, end, negative), see ``scan``; of the words next
    to it only a known currency is included.

    Where there is none, "550 625" may be two columns one blank apart, and not 550,625.
    """
    known = _by_value(text, locale)
    places = known.wholes.get(value) or known.parts.get(value) or []
    return [_widen(text, start, end, accounting=accounting, any_unit=False) for start, end in places]


def without_sign(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of a number of a text without its sign or brackets."""
    before, after = _SIGN_BEFORE.match(text, start, end), _SIGN_AFTER.search(text, start, end)
    return before.end() if before else start, after.start() if after else end


@dataclass(frozen=True)
class _Places:
    """The positions of each number of a text, and of each part of a number that has blanks."""

    wholes: dict[Decimal, list[tuple[int, int]]] = field(default_factory=dict)
    parts: dict[Decimal, list[tuple[int, int]]] = field(default_factory=dict)


@lru_cache(maxsize=64)
def _by_value(text: str, locale: str) -> _Places:
    """See ``_cores``."""
    places = _Places()
    for start, end, values in _cores(text, locale):
        for value in set(values):
            places.wholes.setdefault(value, []).append((start, end))
        parts = _parts(text[start:end], locale)
        for left, right, readings in parts if len(parts) > 1 else ():
            for value in set(readings):
                places.parts.setdefault(value, []).append((start + left, start + right))
    return places


def _widen(text: str, start: int, end: int, *, accounting: bool, any_unit: bool = True) -> tuple[int, int, bool]:
    """A run of digits with its currency and sign, no dash that joins two words; with ``accounting`` brackets, only in
    pairs. ``any_unit``: any capital letters may be a currency.
    """
    before = _BEFORE.search(text, max(0, start - 8), start)
    after = _AFTER.match(text[end : end + 8])
    if not any_unit and before and before["unit"] and not currencies(before["unit"]):
        before = _BEFORE.search(text, before.end("unit"), start)
    if not any_unit and after and after["unit"] and not currencies(after["unit"]):
        after = _AFTER.match(text[end : end + after.start("unit")])
    left, right = start - len(before[0] if before else ""), end + len(after[0] if after else "")
    opened, closed = text.find("(", left, start), text.rfind(")", end, right)
    if not accounting or (opened < 0) != (closed < 0):
        left = left if opened < 0 else opened + 1
        right = right if closed < 0 else closed
    if text[left:start][:1] in ("-", "−", "–") and left and (text[left - 1].isalnum() or text[left - 1] in ")-"):
        left += 1
    if _is_bullet(text, left, right):
        left += 1
    while left < start and text[left].isspace():
        left += 1
    while right > end and text[right - 1].isspace():
        right -= 1
    around = text[left:start] + text[end:right]
    return left, right, "(" in around or any(sign in around for sign in "-−–")


def _is_bullet(text: str, left: int, right: int) -> bool:
    """Whether a dash before a number begins an item of a list, in a text of several lines: "- 40 boxes"."""
    if text[left : left + 1] not in ("-", "−", "–") or not text[left + 1 : left + 2].isspace():
        return False
    begin, end = text.rfind("\n", 0, left) + 1, text.find("\n", right)
    is_alone = begin == 0 and end < 0
    return not is_alone and not text[begin:left].strip() and bool(text[right : end if end >= 0 else None].strip())
