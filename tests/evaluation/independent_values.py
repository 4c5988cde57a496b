"""Single values: read from JSON, compared by the kind of their field, searched in a text.

Plain rather than complete: only English names of months, and no text that a scanner damaged.
"""

import json
import re
import string
import unicodedata
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

# Countries that write 1.234,56 (or 1 234,56); everywhere else it is 1,234.56.
COMMA = " de fr es it nl pt pl sv da nb fi cs sk hu ro bg hr sl el tr ru uk id "
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


# ---- reading -------------------------------------------------------------------------------------------------------


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which every key occurs once. Raises ValueError."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def no_constant(name: str) -> None:
    """NaN and Infinity are no JSON. Raises ValueError."""
    raise ValueError(f"{name} is not JSON")


def read(raw: str) -> dict[str, Any] | None:
    """The JSON object in an output, numbers exact; None where it is none."""
    try:
        found = json.loads(raw, parse_float=Decimal, object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# ---- kinds ---------------------------------------------------------------------------------------------------------


def resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema with local references followed, and of a choice between null and one other schema the other."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    for word in ("anyOf", "oneOf"):
        real = [one for one in schema.get(word, []) if one.get("type") != "null"]
        if len(real) == 1:
            return resolved({**real[0], **{key: value for key, value in schema.items() if key != word}}, root)
    return schema


def types(schema: dict[str, Any]) -> set[str]:
    """The JSON types that a schema allows, without null."""
    found = schema.get("type", [])
    return {found} - {"null"} if isinstance(found, str) else set(found) - {"null"}


def kind_of(schema: dict[str, Any]) -> str:
    """The declared kind, or the one that type and format imply."""
    declared = schema.get("x-slm", {}).get("kind")
    if declared:
        return str(declared)
    if "enum" in schema or "const" in schema or types(schema) == {"boolean"}:
        return "class"
    if types(schema) & {"number", "integer"}:
        return "number"
    return "date" if schema.get("format") == "date" else "text"


def squeezed(text: str) -> str:
    """Each run of white space is one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def bare(text: str) -> str:
    """A text without case, spacing and punctuation."""
    return "".join(letter for letter in unicodedata.normalize("NFKC", text).casefold() if letter.isalnum())


def as_number(value: Any, locale: str) -> Decimal | None:
    """A number, or the number in a text of that locale; None where there is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float | Decimal):
        return Decimal(str(value))
    if not isinstance(value, str):
        return None
    digits = re.sub(r"[^\d.,+\-]", "", value.replace("−", "-"))
    thousands, point = (".", ",") if f" {locale[:2]} " in COMMA else (",", ".")
    try:
        return Decimal(digits.replace(thousands, "").replace(point, "."))
    except InvalidOperation:
        return None


def as_date(value: Any, order: str | None) -> date | None:
    """The day in a text: ISO, digits in the declared order, or with an English month; None where there is none."""
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    try:
        if found := re.fullmatch(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})", text):
            return date(*map(int, found.groups()))
        if found := re.fullmatch(r"(\d{1,2})[-/. ](\d{1,2})[-/. ](\d{4})", text):
            one, two, year = map(int, found.groups())
            if order == "MDY":
                return date(year, one, two)
            return date(year, two, one) if order == "DMY" else None
        if found := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?[ .\-]+([a-z]{3})[a-z]*[ .,\-]+(\d{4})", text):
            return date(int(found[3]), MONTHS.index(found[2]) + 1, int(found[1]))
        if found := re.fullmatch(r"([a-z]{3})[a-z]*[ .]+(\d{1,2})(?:st|nd|rd|th)?[ ,]+(\d{4})", text):
            return date(int(found[3]), MONTHS.index(found[1]) + 1, int(found[2]))
    except ValueError:
        return None
    return None


def normal(value: Any, schema: dict[str, Any]) -> Any:
    """The key by which two values of a field are compared; ``unread`` where a value is not of the field's kind."""
    options, kind = schema.get("x-slm", {}), kind_of(schema)
    if kind in ("money", "number"):
        number = as_number(value, options.get("locale", "en_US"))
        return ("number", number) if number is not None else ("unread", repr(value))
    if kind == "date":
        day = as_date(value, options.get("date_order"))
        return ("date", day) if day else ("unread", repr(value))
    if not isinstance(value, str):
        return (type(value).__name__, value)
    if kind == "identifier":
        return ("text", "".join(unicodedata.normalize("NFKC", value).casefold().split()))
    if kind == "address":
        spaced = "".join(" " if mark in string.punctuation else mark for mark in value.casefold())
        return ("text", squeezed(spaced))
    if kind == "text":
        ignored = options.get("ignore", ["spacing"])
        text = value.casefold() if "case" in ignored else value
        if "punctuation" in ignored:
            text = "".join(mark for mark in text if not unicodedata.category(mark).startswith("P"))
        return ("text", squeezed(text) if "spacing" in ignored else unicodedata.normalize("NFC", text))
    return ("text", value)


# ---- in the document -----------------------------------------------------------------------------------------------


def stands_in(value: Any, schema: dict[str, Any], text: str) -> bool:
    """Whether a value is in the document, in any spelling."""
    kind, options = kind_of(schema), schema.get("x-slm", {})
    if kind in ("money", "number"):
        wanted = as_number(value, options.get("locale", "en_US"))
        found = re.findall(r"\d[\d.,' ]*\d|\d", text)
        pieces = [*found, *(piece for run in found for piece in run.split())]
        return wanted is not None and any(
            (number := as_number(piece.rstrip(".,"), options.get("locale", "en_US"))) is not None
            and abs(number) == abs(wanted)
            for piece in pieces
        )
    if kind == "date" and (wanted_day := as_date(value, options.get("date_order"))):
        shapes = (
            r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}",
            r"\d{1,2}[-/. ]\d{1,2}[-/. ]\d{4}",
            r"\d{1,2}(?:st|nd|rd|th)?[ .\-]+[A-Za-z]{3,9}[ .,\-]+\d{4}",
            r"[A-Za-z]{3,9}[ .]+\d{1,2}(?:st|nd|rd|th)?[ ,]+\d{4}",
        )
        orders = [options["date_order"]] if options.get("date_order") else ["DMY", "MDY"]
        spelled = (found for shape in shapes for found in re.findall(shape, text))
        return any(as_date(one, order) == wanted_day for one in spelled for order in orders)
    return bare(str(value)) in bare(text)


# ---- currencies, and values that are one character off -------------------------------------------------------------

SIGNS = {"€": "EUR", "₹": "INR", "zł": "PLN", "RM": "MYR"}
#: signs that several currencies share
SHARED = {"$": {"USD", "CAD", "AUD", "NZD", "SGD", "HKD", "COP", "CLP", "ARS", "MXN"}, "£": {"GBP", "EGP", "LBP"}}


def currencies_of(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> set[str]:
    """The currencies that an amount can have: by a code in it, else by a sign, else by its field, else by the schema. A
    sign that several share is the declared one where it can be."""
    declared = schema.get("x-slm", {}).get("currency") or root.get("x-slm", {}).get("currency")
    if isinstance(value, str):
        named = {code for sign, code in SIGNS.items() if sign in value}
        codes = set(re.findall(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])", value))
        if codes or named:
            return codes or named
        for sign, shared in SHARED.items():
            if sign in value:
                return {declared} if declared in shared else set(shared)
    return {declared} if declared else set()


def same_value(one: Any, other: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether two values of a field are equal; amounts without a currency fit any."""
    if normal(one, schema) != normal(other, schema):
        return False
    if kind_of(schema) != "money":
        return True
    left, right = (currencies_of(value, schema, root) for value in (one, other))
    return not left or not right or bool(left & right)


def edits_to(one: str, other: str) -> bool:
    """Whether one insertion, deletion, substitution or swap turns one text into the other."""
    if one == other:
        return False
    made = {one[:at] + one[at + 1 :] for at in range(len(one))}
    if other in made or one in {other[:at] + other[at + 1 :] for at in range(len(other))}:
        return True
    if len(one) != len(other):
        return False
    places = [at for at in range(len(one)) if one[at] != other[at]]
    if len(places) == 1:
        return True
    return (
        len(places) == 2
        and places[1] == places[0] + 1
        and one[places[0]] == other[places[1]]
        and one[places[1]] == other[places[0]]
    )


def digits_off(one: Decimal, other: Decimal) -> bool:
    """Whether two numbers differ in one digit, written with the same decimals."""
    places = max(0, *(-int(number.as_tuple().exponent) for number in (one, other)))
    left, right = (f"{abs(number):.{places}f}" for number in (one, other))
    if left.replace(".", "") == right.replace(".", "") or min(len(left), len(right)) < 3:
        return False
    return edits_to(left, right)


def misread(value: Any, gold: Any, schema: dict[str, Any], text: str, others: list[Any]) -> bool:
    """Whether a value is one character off gold that is in the document, or off another long value in it. A date is
    compared with its own gold alone, and is none where it is one of ``others``, gold of the other fields."""
    kind, options = kind_of(schema), schema.get("x-slm", {})
    there = gold is not None and stands_in(gold, schema, text)
    if kind in ("money", "number"):
        locale = options.get("locale", "en_US")
        number, wanted = as_number(value, locale), as_number(gold, locale)
        if number is None:
            return False
        if there and wanted is not None and digits_off(number, wanted):
            return True
        found = re.findall(r"\d[\d.,]*\d|\d", text)
        others = [as_number(piece, locale) for piece in found]
        long = len(number.as_tuple().digits) >= 5
        return long and any(other is not None and digits_off(number, other) for other in others)
    if kind == "date":
        day, wanted_day = (as_date(one, options.get("date_order")) for one in (value, gold))
        if day is None:
            return False
        if wanted_day is None or any(isinstance(one, str) and bare(one) == bare(value) for one in others):
            return False
        return there and edits_to(day.isoformat(), wanted_day.isoformat())
    if not isinstance(value, str):
        return False
    letters = bare(value)
    if there and isinstance(gold, str) and min(len(letters), len(bare(gold))) >= 3 and edits_to(letters, bare(gold)):
        return True
    if len(letters) < 6:
        return False
    words = re.findall(r"\S+", text)
    starts = range(len(words))
    spans = (bare("".join(words[at:end])) for at in starts for end in range(at + 1, min(len(words), at + 12) + 1))
    return any(edits_to(letters, span) for span in spans)
