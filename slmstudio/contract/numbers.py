"""Numbers and amounts of money as people write them, read exactly into Decimal."""

import re
from decimal import Decimal
from functools import lru_cache

from slmstudio.contract.jsontext import MAX_DIGITS

_SPACES = "   \u2009"
_DIGITS = rf"\d(?:[\d.,'’{_SPACES}]*\d)?"
_CURRENCY = r"(?:[$€£¥₹₩₽₺₫₴₱฿₦₪]|[A-Z]{1,3}[$€£]|(?<![^\W\d_])[A-Za-z]{2,3}\.?(?![^\W\d_]))"
_SIGN = r"[-−–+]"
_WHOLE = re.compile(
    rf"\s*(?P<open>\()?\s*(?P<sign1>{_SIGN})?\s*(?:{_CURRENCY})?\s*(?P<sign2>{_SIGN})?\s*(?P<core>{_DIGITS}|\d*\.\d+)"
    rf"(?:[.,]-)?\s*(?P<sign3>[-−])?\s*(?:%|{_CURRENCY})?\s*(?P<close>\))?\s*"
)
_CORE = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:[,.'’   \u2009]\d{2,3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)?|\.\d+)(?!\w)")
_GLUED = re.compile(r"(?:[A-Za-z]{2,3}|[A-Z]{0,3}[$€£¥₹])(?=\d)")
_BEFORE = re.compile(rf"(?:\(\s?)?(?:{_SIGN}\s?)?(?:{_CURRENCY})?\s?(?:{_SIGN})?$")
_AFTER = re.compile(rf"^(?:[-−](?!\w))?(?:\s?(?:[$€£¥₹]|(?:[A-Z]{{3}})(?!\w)))?(?:\s?\))?")
_GROUPED = {
    ".": re.compile(rf"\d{{1,3}}(?:(?P<g>[,'’{_SPACES}])\d{{3}}(?:(?P=g)\d{{3}})*|(?:,\d{{2}})*,\d{{3}})(?:\.\d+)?"),
    ",": re.compile(rf"\d{{1,3}}(?P<g>[.'’{_SPACES}])\d{{3}}(?:(?P=g)\d{{3}})*(?:,\d+)?"),
}
_BARE = {".": re.compile(r"\d*\.\d+|\d+"), ",": re.compile(r"\d*,\d+|\d+")}


@lru_cache(maxsize=64)
def decimal_mark(locale: str) -> str:
    """The decimal mark of a locale, "." or ","; "." where none is declared."""
    if not locale:
        return "."
    from babel.numbers import get_decimal_symbol

    return "," if get_decimal_symbol(locale.replace("-", "_")) == "," else "."


@lru_cache(maxsize=8192)
def core_readings(core: str, locale: str = "") -> tuple[Decimal, ...]:
    """What digits with separators can mean: first by the locale's marks, then by the other ones (1.248: 1.248 or 1248)."""
    if len(core) > 2 * MAX_DIGITS:
        return ()
    first = decimal_mark(locale)
    found: list[Decimal] = []
    for mark in (first, "," if first == "." else "."):
        if not (_GROUPED[mark].fullmatch(core) or _BARE[mark].fullmatch(core)):
            continue
        plain = "".join(letter for letter in core if letter.isdigit() or letter == mark).replace(mark, ".")
        value = Decimal(plain)
        if sum(letter.isdigit() for letter in plain) <= MAX_DIGITS and value not in found:
            found.append(value)
    return tuple(found)


def parse(text: str, locale: str = "") -> Decimal | None:
    """The number of a text that is nothing but a number, with or without a currency, sign or per cent; else None.

    ``(12.50)`` and ``12.50-`` are negative. Written marks that contradict the locale are read the other way round
    (``12,50`` is 12.50 under en_US).
    """
    match = _WHOLE.fullmatch(text) if len(text) <= 200 else None
    if not match or bool(match["open"]) != bool(match["close"]):
        return None
    found = core_readings(match["core"], locale)
    if not found:
        return None
    signs = [match[name] for name in ("sign1", "sign2", "sign3")]
    negative = bool(match["open"]) or any(sign and sign != "+" for sign in signs)
    return -found[0] if negative else found[0]


@lru_cache(maxsize=64)
def scan(text: str, locale: str = "") -> tuple[tuple[int, int, tuple[Decimal, ...]], ...]:
    """Every number in a text as (start, end, readings), currency and sign included in the stretch.

    Without a locale both ways to read a mark are given, with one only the locale's where it is possible.
    """
    shifted = _GLUED.sub(lambda match: " " * len(match[0]), text)
    hits = []
    for match in _CORE.finditer(shifted):
        found = core_readings(match[0], locale)
        if not found:
            continue
        found = found[:1] if locale else found
        before = _BEFORE.search(text, max(0, match.start() - 8), match.start())
        after = _AFTER.match(text[match.end() : match.end() + 8])
        start, end = _extend(text, match, before[0] if before else "", after[0] if after else "")
        around = text[start : match.start()] + text[match.end() : end]
        negative = any(sign in around for sign in "-−–") or ("(" in around and ")" in around)
        hits.append((start, end, tuple(-value for value in found) if negative else found))
    return tuple(hits)


def _extend(text: str, match: re.Match[str], before: str, after: str) -> tuple[int, int]:
    """Widen a number by its currency and sign, but take brackets only in pairs and no dash that joins two words."""
    start, end = match.start() - len(before), match.end() + len(after)
    if ("(" in before) != (")" in after):
        start += before.find("(") + 1 if "(" in before else 0
        end -= len(after) - after.rfind(")") if ")" in after else 0
        end = max(end, match.end())
    piece = text[start : match.start()]
    if piece[:1] in ("-", "−", "–") and start and (text[start - 1].isalnum() or text[start - 1] in ")-"):
        start += 1
    while start < match.start() and text[start].isspace():
        start += 1
    while end > match.end() and text[end - 1].isspace():
        end -= 1
    return start, end
