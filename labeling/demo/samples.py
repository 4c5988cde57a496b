"""Sample invoices: messy, seeded, with gold labels under the ``invoice`` template and failure tags.

Every document is generated from facts (who, what, when, how much) in one of several layouts, and some get OCR noise.
The gold label holds what is printed: the vendor as spelled, and only dates and amounts in the text. If OCR noise
corrupts a value, the gold label keeps the true one, and the document has the tag ``unreadable_value``.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from math import ceil
from typing import Any

from labeling.demo import sample_layouts
from labeling.demo.sample_words import COUNTRIES, Country, write_date, write_number
from slmstudio.contract.schema.compiled import dumps

MAX_NAME_LENGTH = 32
MAX_TOKENS = 200
MISSING = ("invoice_id", "date", "vendor", "total_amount")
WORD = re.compile(r"[^\W\d_]+")
SIGN = re.compile(r"\d|[^\w\s]|\n|(?<=\s)(?=\d)")
CONFUSIONS = {
    "I": "l",
    "l": "1",
    "o": "0",
    "O": "0",
    "i": "l",
    "e": "c",
    "S": "5",
    "s": "5",
    "a": "o",
    "B": "8",
}
DIGITS = {"0": "O", "1": "l", "5": "S", "8": "B", "2": "Z", "6": "G"}


@dataclass(frozen=True)
class Sample:
    """A generated document. ``gold`` is valid under the ``invoice`` template, with Decimal amounts."""

    external_id: str
    text: str
    gold: dict[str, Any]
    tags: list[str]
    language: str


@dataclass(frozen=True)
class InvoiceFacts:
    """The content of an invoice as printed; "" for omitted values."""

    country: Country
    invoice_id: str
    issued: date
    due: date | None
    total_amount: Decimal
    vendor: str
    customer: str
    place: str
    purchase_order: str
    date: str
    due_date: str
    other_dates: tuple[tuple[str, str], ...]
    subtotal: str
    tax: str
    tax_rate: int
    total: str
    paid: str
    balance: str
    has_labels: bool = True
    tags: frozenset[str] = field(default_factory=frozenset)


def generate(n: int, seed: int = 17) -> Iterator[Sample]:
    """``n`` invoices. A seed gives the same bytes in every process, and a longer run starts like a shorter one.

    Document and completion together have at most 200 tokens of SmolLM2's tokenizer.
    """
    for number in range(n):
        # one generator per document, so documents do not depend on each other
        yield _sample(random.Random(f"invoice {seed} {number}"), f"inv-{seed}-{number + 1:04}")


def _sample(rng: random.Random, external_id: str) -> Sample:
    facts = _facts(rng)
    layout = sample_layouts.choose(rng)
    tags = set(facts.tags) | set(layout.tags)
    missing = rng.choice(MISSING) if rng.random() < 0.08 else ""
    if missing:
        facts = _without(facts, missing)
        tags.add("missing_field")
    gold = _gold(facts, missing)
    text = _fit(layout, facts, MAX_TOKENS - estimated_tokens(dumps(gold), facts.country.language), rng)
    if len({day for day in _printed_dates(facts) if day in text}) > 1:
        tags.add("several_dates")
    if len({amount for amount in (facts.subtotal, facts.total, facts.balance) if amount and amount in text}) > 1:
        tags.add("several_totals")
    if not facts.has_labels and facts.customer in text.split("\n"):
        tags.add("ambiguous")  # two companies without labels
    text, noisy, damaged = _add_ocr_noise(text, facts, rng)
    tags |= {"ocr_noise"} if noisy else set()
    tags |= {"unreadable_value"} if damaged else set()
    return Sample(external_id, text, gold, sorted(tags), facts.country.language)


def _gold(facts: InvoiceFacts, missing: str) -> dict[str, Any]:
    gold: dict[str, Any] = {
        "invoice_id": facts.invoice_id or None,
        "date": None if missing == "date" else facts.issued.isoformat(),
        "vendor": facts.vendor or None,
        "total_amount": None if missing == "total_amount" else facts.total_amount,
    }
    if facts.due is not None:
        gold["due_date"] = facts.due.isoformat()
    if facts.purchase_order:
        gold["purchase_order"] = facts.purchase_order
    return gold


# -- facts -----------------------------------------------------------------------------------------


def _facts(rng: random.Random) -> InvoiceFacts:
    country = rng.choices([c for _, c in COUNTRIES], [weight for weight, _ in COUNTRIES])[0]
    tags: set[str] = set() if country.language == "en" else {"other_language", "foreign_format"}
    issued = date(2023, 1, 1) + timedelta(days=rng.randrange(1400))
    due = issued + timedelta(days=rng.choice((7, 10, 14, 20, 30, 45))) if rng.random() < 0.36 else None
    pattern = rng.choice(country.rare_dates if rng.random() < 0.3 else country.dates)
    # In English, 3/4/2026 is in March or April; the currency decides.
    slashes = "/" in pattern and country.language == "en"
    if slashes and issued.day <= 12 and issued.day != issued.month:
        tags.add("ambiguous")

    def written(day: date) -> str:
        return write_date(day, pattern, country.language)

    names = _names(rng, country.faker)
    total, money = _total(rng), _money_writer(rng, country, plain=not slashes)
    rate = rng.choice(country.taxes)
    net = _cents(total * 100 / (100 + rate))
    split = rng.random() < 0.34
    paid = _cents(total / rng.choice((2, 4, 5))) if rng.random() < 0.07 else None
    if paid is not None:
        tags.add("ambiguous")
    return InvoiceFacts(
        country=country,
        invoice_id=_invoice_id(rng, issued),
        issued=issued,
        due=due,
        total_amount=total,
        vendor=names[0].upper() if rng.random() < 0.15 else names[0],
        customer=names[1],
        place=names[2],
        purchase_order=_order_number(rng) if rng.random() < 0.3 else "",
        date=written(issued),
        due_date=written(due) if due else "",
        other_dates=_other_dates(rng, issued, written),
        subtotal=money(net) if split else "",
        tax=money(total - net) if split else "",
        tax_rate=rate,
        total=money(total),
        paid=money(paid) if paid is not None else "",
        balance=money(total - paid) if paid is not None else "",
        has_labels=rng.random() >= 0.08,
        tags=frozenset(tags),
    )


def _names(rng: random.Random, locale: str) -> tuple[str, str, str]:
    """Vendor, customer and address, from faker in the country's language."""
    faker = _faker(locale)
    faker.seed_instance(rng.getrandbits(48))
    names = [name for name in (faker.company() for _ in range(40)) if len(name) <= MAX_NAME_LENGTH]
    vendor = names[0]
    customer = next(name for name in [*names[1:], faker.last_name()] if vendor not in name and name not in vendor)
    return vendor, customer, f"{faker.building_number()} {faker.street_name()}, {faker.city()}"


@cache
def _faker(locale: str) -> Any:
    from faker import Faker

    return Faker(locale)


def _invoice_id(rng: random.Random, issued: date) -> str:
    number = rng.randrange(100, 9999)
    return rng.choice(
        (
            f"{rng.choice('ABCDEFGHKLMNPRST')}-{number}",
            f"INV-{number:04}",
            f"{issued.year}-{number:04}",
            f"{rng.choice(('RE', 'F', 'SI', 'R', 'INV', 'X'))}{issued.year % 100}{number:04}",
            f"{number}/{issued.year % 100}",
            f"{rng.randrange(10000, 99999)}",
        )
    )


def _order_number(rng: random.Random) -> str:
    return rng.choice(
        (f"PO-{rng.randrange(100, 9999)}", f"{rng.randrange(4000, 99999)}", f"P{rng.randrange(100, 999)}K")
    )


def _total(rng: random.Random) -> Decimal:
    """Mostly tens to thousands, with cents."""
    return _cents(Decimal(rng.randrange(1200, 10 ** rng.choice((4, 5, 5, 6)) * 2)) / 100)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"))


def _money_writer(rng: random.Random, country: Country, plain: bool) -> Any:
    """How an invoice writes amounts: one currency sign, with or without thousands separators.

    With slashes in dates, it uses the country's own currency, which tells the order of day and month.
    """
    thousands = "" if rng.random() < 0.2 else country.thousands
    pattern = rng.choice((*country.money, *country.other_money, "{}") if plain else country.money)
    return lambda amount: pattern.format(write_number(amount, thousands, country.point))


def _other_dates(rng: random.Random, issued: date, written: Any) -> tuple[tuple[str, str], ...]:
    dates = []
    if rng.random() < 0.12:
        dates.append(("ordered", written(issued - timedelta(days=rng.randrange(2, 30)))))
    if rng.random() < 0.12:
        dates.append(("delivered", written(issued - timedelta(days=rng.randrange(1, 9)))))
    if rng.random() < 0.06:
        dates.append(("printed", written(issued + timedelta(days=rng.randrange(1, 6)))))
    return tuple(dates[:2])


def _without(facts: InvoiceFacts, missing: str) -> InvoiceFacts:
    """The invoice without one of its main values."""
    if missing == "invoice_id":
        return replace(facts, invoice_id="")
    if missing == "vendor":
        return replace(facts, vendor="", has_labels=True)
    if missing == "date":
        return replace(facts, date="")
    return replace(facts, total="", subtotal="", tax="", paid="", balance="")


def _printed_dates(facts: InvoiceFacts) -> list[str]:
    return [day for day in (facts.date, facts.due_date, *(day for _, day in facts.other_dates)) if day]


# -- paper -----------------------------------------------------------------------------------------


def _fit(layout: sample_layouts.Layout, facts: InvoiceFacts, limit: int, rng: random.Random) -> str:
    """The document within the limit: optional parts (greetings, addresses) are dropped first."""
    parts = [part for part in layout.write(facts, rng) if part.text]
    while estimated_tokens(layout.joiner.join(part.text for part in parts), facts.country.language) > limit:
        filling = [part for part in parts if part.filling]
        if not filling:
            break
        parts.remove(max(filling, key=lambda part: (part.filling, len(part.text))))
    return layout.joiner.join(part.text for part in parts)


def estimated_tokens(text: str, language: str = "en") -> int:
    """A cautious estimate of SmolLM2 tokens: one per digit and sign, words by length and language."""
    per_token = 3.2 if language == "en" else 2.3
    words = sum(ceil(len(word) / (2.2 if word.isupper() else per_token)) for word in WORD.findall(text))
    return words + len(SIGN.findall(text))


def _add_ocr_noise(text: str, facts: InvoiceFacts, rng: random.Random) -> tuple[str, bool, bool]:
    """OCR noise: (text, whether any letter was misread, whether a value was corrupted)."""
    if rng.random() >= 0.2:
        return text, False, False
    values = [facts.invoice_id, facts.vendor, facts.date, facts.due_date, facts.purchase_order, facts.total]
    protected = [(m.start(), m.end()) for value in values if value for m in re.finditer(re.escape(value), text)]
    letters = []
    for index, letter in enumerate(text):
        keep = any(start <= index < end for start, end in protected)
        letters.append(letter if keep or rng.random() >= 0.06 else _misread(letter, rng))
    noisy = "".join(letters)
    if rng.random() < 0.25 and facts.invoice_id in text and facts.invoice_id:
        damaged = _corrupt_value(facts.invoice_id)
        if damaged != facts.invoice_id:
            return noisy.replace(facts.invoice_id, damaged), True, True
    return noisy, noisy != text, False


def _misread(letter: str, rng: random.Random) -> str:
    if letter == " ":
        return rng.choice(("", "  "))
    if not letter.isalpha():
        return letter
    return CONFUSIONS.get(letter, letter if rng.random() < 0.7 else rng.choice(("", ".", letter + "'")))


def _corrupt_value(value: str) -> str:
    """The value with its first digit that resembles a letter misread as that letter."""
    for index, digit in enumerate(value):
        if digit in DIGITS:
            return value[:index] + DIGITS[digit] + value[index + 1 :]
    return value
