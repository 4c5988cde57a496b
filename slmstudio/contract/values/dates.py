"""Dates as people write them: declared formats are tried in order, and only ambiguous dates are guessed.

Two-digit years follow POSIX: 69 to 99 are 19xx, 00 to 68 are 20xx. Digits are read in the declared order; if none is
declared, by the locale (en_US: month first), else day first. If the declared order is impossible (14/01/2026 under
MDY), the other one is used. Typed and imported values are never guessed: ``unambiguous_readings`` returns every
possible reading; with dots (03.04.2026) only day, month, year, as the month is never first with dots. Month names
are read in English and in the language of the declared locale; without one also by their full names in German, French,
Spanish, Italian, Portuguese and Dutch.
"""

import re
import unicodedata
from datetime import date
from functools import lru_cache
from itertools import product

_ENGLISH = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
#: read by full names if no locale is declared: short ones ("set", "out", "ago") are words of other languages
_WELL_KNOWN = ("de", "fr", "es", "it", "pt", "nl")
_MONTH_FIRST = {"en_US", "en", "en_PH", "es_PR", "en_PR"}

_YEAR = r"(?P<y>(?:1[89]|2[01])\d\d)"
_SHORT = r"(?P<y>(?:1[89]|2[01])\d\d|\d\d)"
_WORD = r"(?P<m>[^\W\d_]{3,12})"
_GAP = r"[\s.,/'’-]{0,3}"
_FORMS = tuple(
    re.compile(rf"(?<![\d.,/-])(?:{form})(?![\d]|[.,/-]\d)")
    for form in (
        rf"{_YEAR}(?P<s>[-/. ])(?P<m>\d{{1,2}})(?P=s)(?P<d>\d{{1,2}})",
        r"(?P<a>\d{1,2})(?P<s> ?[-/.] ?| )(?P<b>\d{1,2})(?P=s)(?P<c>\d{4}|\d{2})",
        rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th|º)?(?:{_GAP}(?:of|de)\s)?{_GAP}{_WORD}{_GAP}(?:de\s)?{_SHORT}",
        rf"(?<!\w){_WORD}{_GAP}(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[\s.,/'’-]{{1,3}}{_SHORT}",
        rf"{_YEAR}{_GAP}{_WORD}{_GAP}(?P<d>\d{{1,2}})",
        rf"{_YEAR}\s?年\s?(?P<m>\d{{1,2}})\s?月\s?(?P<d>\d{{1,2}})\s?日",
        r"(?P<y>(?:19|20)\d\d)(?P<m>0[1-9]|1[0-2])(?P<d>[0-2]\d|3[01])",
        r"(?P<d>[0-2]\d|3[01])(?P<m>0[1-9]|1[0-2])(?P<y>(?:19|20)\d\d)",
    )
)
# The formats that can begin with a run of so many digits; only one begins with a word.
_MONTH_FORM = _FORMS[3]
_BY_LENGTH = {
    1: (_FORMS[1], _FORMS[2]),
    2: (_FORMS[1], _FORMS[2]),
    4: (_FORMS[0], _FORMS[4], _FORMS[5]),
    8: (_FORMS[6], _FORMS[7]),
}
_DIGITS = re.compile(r"\d+")
_MONTH_BEFORE = re.compile(rf"(?<!\w)[^\W\d_]{{3,12}}{_GAP}$")
_AROUND = re.compile(
    r"^[\s(\[]*(?:[^\W\d_]{2,12}[.,]?\s+)?|"
    r"[\s)\]]*(?:[T\s,]\s*\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:\s*[AaPp]\.?[Mm]\.?|Z)?)?[\s)\]]*$"
)


@lru_cache(maxsize=64)
def month_names(locale: str) -> dict[str, int]:
    """Names of months in lower case that are read under a locale, "" for none, with their numbers."""
    english = {name[:length]: i + 1 for i, name in enumerate(_ENGLISH) for length in range(3, len(name) + 1)}
    if not locale:
        full = [_named(language, ("wide",)) for language in _WELL_KNOWN]
        return {**{name: number for names in full for name, number in names.items()}, **english}
    return english if locale.startswith("en") else {**english, **_named(locale, ("wide", "abbreviated"))}


def _named(locale: str, widths: tuple[str, ...]) -> dict[str, int]:
    """Month names of a language, each also without accents."""
    from babel.dates import get_month_names

    names: dict[str, int] = {}
    for context, width in product(("format", "stand-alone"), widths):
        for number, name in get_month_names(width, context, locale).items():  # type: ignore[arg-type]
            spelled = name.casefold().rstrip(".")
            bare = "".join(c for c in unicodedata.normalize("NFD", spelled) if not unicodedata.combining(c))
            names[spelled] = names[bare] = number
    return names


def _year(text: str) -> int:
    return int(text) if len(text) == 4 else int(text) + (1900 if int(text) >= 69 else 2000)


def is_month_first(locale: str) -> bool:
    """Whether a locale writes the month before the day in digits."""
    return locale.replace("-", "_") in _MONTH_FIRST


def _orders(order: str, locale: str) -> tuple[str, ...]:
    first = order or ("MDY" if is_month_first(locale) else "DMY")
    return (first, *(other for other in ("DMY", "MDY", "YMD") if other != first))


def _read(match: re.Match[str], order: str, locale: str) -> list[date]:
    """The possible dates of a match, the likeliest first."""
    groups = match.groupdict()
    if "a" not in groups:
        month = groups["m"] if groups["m"].isdigit() else month_names(locale).get(groups["m"].casefold())
        return [] if month is None else _dates([(groups["y"], month, groups["d"])])
    if len(groups["c"]) != 4 and match["s"] == " ":
        return []  # 2 10 15 is a row of numbers
    parts = _orderings(match)
    return _dates([parts[key] for key in _orders(order, locale) if key in parts])


def _orderings(match: re.Match[str]) -> dict[str, tuple[str, str | int, str]]:
    """Year, month and day of a date in digits by each order; a four-digit year at the end is not a day."""
    a, b, c = match["a"], match["b"], match["c"]
    parts: dict[str, tuple[str, str | int, str]] = {"DMY": (c, b, a), "MDY": (c, a, b), "YMD": (a, b, c)}
    if len(c) == 4:
        del parts["YMD"]
    return parts


def _dates(parts: list[tuple[str, str | int, str]]) -> list[date]:
    days: list[date] = []
    for year, month, day in parts:
        try:
            reading = date(_year(year), int(month), int(day))
        except ValueError:
            continue
        if reading not in days:
            days.append(reading)
    return days


@lru_cache(maxsize=8192)
def readings(text: str, order: str = "", locale: str = "") -> tuple[date, ...]:
    """Possible dates of a text that is only a date (weekday, time of day, brackets allowed), the likeliest first."""
    if len(text) > 60:
        return ()
    core = _AROUND.sub("", text)
    for candidate in (text.strip(), core):
        for form in _FORMS:
            match = form.fullmatch(candidate)
            if match and (days := _read(match, order, locale)):
                return tuple(days)
    return ()


def parse(text: str, order: str = "", locale: str = "") -> date | None:
    """The likeliest date of a text that is only a date, or None."""
    days = readings(text, order, locale)
    return days[0] if days else None


def unambiguous_readings(text: str, order: str = "", locale: str = "", document: str = "") -> tuple[date, ...]:
    """The possible readings of a text: none if it is not a date, several if it is ambiguous.

    Digits are resolved by the declared order, else by the declared locale, else by the other dates of ``document``, its
    source text (``order_of``), else with dots as day, month, year.
    """
    days = readings(text, order, locale)
    if len(days) < 2 or order or locale:
        return days[:1]
    digits = _FORMS[1].search(text)
    other = order_of(document) or ("DMY" if digits is not None and "." in digits["s"] else "")
    return readings(text, other)[:1] if other else days


_PARTS = re.compile(r"\d+|[^\W\d_]+")
_FILLERS = frozenset({"st", "nd", "rd", "th", "of", "de"})
#: what is missing by the number of month names, of numbers that can be days or months, and of years
_MISSING: dict[tuple[int, int, int], tuple[str, ...]] = {
    (1, 0, 0): ("day", "year"),
    (1, 1, 0): ("year",),
    (1, 0, 1): ("day",),
    (0, 1, 0): ("month", "year"),
    (0, 2, 0): ("year",),
    (0, 1, 1): ("day",),
    (0, 0, 1): ("day", "month"),
}


def missing_parts(text: str, locale: str = "") -> tuple[str, ...]:
    """Which of day, month and year an incomplete date lacks ("14 Jan": the year); none of any other text."""
    words = [word for word in _PARTS.findall(text.casefold()[:60]) if word not in _FILLERS]
    months = sum(word in month_names(locale) for word in words)
    small = sum(word.isdecimal() and len(word) <= 2 and 1 <= int(word) <= 31 for word in words)
    years = sum(re.fullmatch(_YEAR, word) is not None for word in words)
    return _MISSING.get((months, small, years), ()) if months + small + years == len(words) else ()


@lru_cache(maxsize=64)
def order_of(text: str) -> str:
    """The order in which a text writes its dates in digits ("DMY", "MDY" or "YMD"), inferred from unambiguous dates:
    27/03/2026 has the day first. "" if there are none, or if they differ.
    """
    orders: set[str] = set()
    for start, end, days in scan(text):
        match = _FORMS[1].fullmatch(text[start:end]) if len(days) == 1 else None
        if match is not None:
            possible = [order for order, parts in _orderings(match).items() if _dates([parts])]
            orders.update(possible if len(possible) == 1 else ())
    return orders.pop() if len(orders) == 1 else ""


@lru_cache(maxsize=64)
def scan(text: str, order: str = "", locale: str = "") -> tuple[tuple[int, int, tuple[date, ...]], ...]:
    """Every date in a text as (start, end, readings), by position. A declared order excludes other readings of digits
    if it is possible at all.
    """
    hits: dict[tuple[int, int], tuple[date, ...]] = {}
    for digits in _DIGITS.finditer(text):
        start, end = digits.span()
        month = _MONTH_BEFORE.search(text, max(0, start - 16), start)
        starts = [(form, start) for form in _BY_LENGTH.get(end - start, ())]
        starts += [(_MONTH_FORM, month.start())] if month else []
        for form, position in starts:
            match = form.match(text, position)
            days = _read(match, order, locale) if match else []
            if match and days:
                hits.setdefault(match.span(), tuple(days[:1] if order else days))
    return tuple((start, end, days) for (start, end), days in sorted(hits.items()))
