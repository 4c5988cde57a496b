"""Twenty-seven delivery notes in eleven layouts of their tables, with the values that a person types from them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.contract.samples import object_schema

TEXT: dict[str, Any] = {"type": "string"}
ITEMS = object_schema(
    {"sku": {**TEXT, "title": "SKU"}, "description": TEXT, "quantity": {"type": "integer"}, "unit": TEXT},
    required=["sku", "description", "quantity", "unit"],
)
DIRECTIONS = ["incoming", "outgoing"]
#: as the builder writes it from the names that ``test_typed_day`` types
SCHEMA: dict[str, Any] = object_schema(
    {
        "note_number": TEXT,
        "date": {"type": "string", "format": "date"},
        "sender": TEXT,
        "recipient": TEXT,
        "direction": {"type": "string", "enum": DIRECTIONS},
        "order_number": TEXT,
        "signed": {"type": "boolean"},
        "remark": TEXT,
        "items": {"type": "array", "items": ITEMS},
    },
    required=["note_number", "date", "sender", "recipient", "items"],
)
Row = tuple[str, str, int, str]


@dataclass(frozen=True)
class Words:
    """What a language calls things, and how it writes a day."""

    title: str
    number: str
    day: str
    sender: str
    recipient: str
    order: str
    remark: str
    months: tuple[str, ...]
    heads: tuple[str, ...]
    write_day: Callable[[int, str, int], str]


ENGLISH = Words(
    "DELIVERY NOTE", "Note", "Date", "From", "Ship to", "Order", "Remark",
    ("January", "February", "March"), ("SKU", "Description", "Quantity", "Unit"),
    lambda day, month, year: f"{month} {day}, {year}",
)  # fmt: skip
GERMAN = Words(
    "LIEFERSCHEIN", "Lieferschein-Nr.", "Datum", "Absender", "Empfänger", "Bestellung", "Bemerkung",
    ("Januar", "Februar", "März"), ("Art.-Nr.", "Bezeichnung", "Menge", "Einheit"),
    lambda day, month, year: f"{day}. {month} {year}",
)  # fmt: skip
FRENCH = Words(
    "BON DE LIVRAISON", "Bon n°", "Date", "Expéditeur", "Destinataire", "Commande", "Remarque",
    ("janvier", "février", "mars"), ("Réf.", "Désignation", "Quantité", "Unité"),
    lambda day, month, year: f"{day} {month} {year}",
)  # fmt: skip
LANGUAGES = (ENGLISH, GERMAN, FRENCH)

SENDERS = ("Bäckerei Holm & Söhne GmbH", "Acme Supplies Ltd 🚚", "Papeterie du Midi SARL", "Kaynak Tekstil A.Ş.")
RECIPIENTS = ("Café Zentral, Wien", "مكتبة النور", "ספרי תל אביב", "Northwind Traders 🌍", "Hôtel de l’Étoile")
REMARKS = ("", "2 boxes damaged 📦", "", "handle with care ⚠️", "שביר")
GOODS: tuple[tuple[str, str], ...] = (
    ("Hex bolt M8", "pcs"), ("Masking tape", "roll"), ("Weizenmehl Typ 550", "Sack"), ("Ramette A4", "ram"),
    ("Stylo bille bleu", "pce"), ("Junction box", "box"), ("Cable NYM", "m"), ("Hefe frisch", "Karton"),
    ("Efeu 9 cm", "pot"),
)  # fmt: skip
ARABIC_GOODS = (("مفك براغي", "قطعة"), ("شريط لاصق", "لفة"), ("مسامير", "علبة"))
HEBREW_GOODS = (("מברג", "יח"), ("סרט הדבקה", "גליל"), ("ברגים", "קופסה"))


# -- layouts: the lines of a table. Alt+R reads the first nine; the others are typed cell by cell. ---------------------


def _columns(rows: list[Row], words: Words) -> list[str]:
    return [f"{sku:<10}{name:<24}{count:>6}  {unit}" for sku, name, count, unit in rows]


def _tabs(rows: list[Row], words: Words) -> list[str]:
    return ["\t".join(map(str, row)) for row in rows]


def _positions(rows: list[Row], words: Words) -> list[str]:
    return [f"{at:<5}{sku:<10}{name:<24}{count:>6}     {unit}" for at, (sku, name, count, unit) in enumerate(rows, 1)]


def _counted(rows: list[Row], words: Words) -> list[str]:
    return [f"{at} {sku}  {name}  {count} {unit}" for at, (sku, name, count, unit) in enumerate(rows, 1)]


def _joined(rows: list[Row], words: Words) -> list[str]:
    return [f"{sku}  {name}   {count} {unit}" for sku, name, count, unit in rows]


def _bars(rows: list[Row], words: Words) -> list[str]:
    return [f"SKU {sku} | {name} | {count} | {unit}" for sku, name, count, unit in rows]


def _semicolons(rows: list[Row], words: Words) -> list[str]:
    return [";".join(map(str, row)) for row in rows]


def _single_blanks(rows: list[Row], words: Words) -> list[str]:
    return [f"{at} {sku} {name} {count} {unit}" for at, (sku, name, count, unit) in enumerate(rows, 1)]


def _right_to_left(rows: list[Row], words: Words) -> list[str]:
    return [f"{sku}  {name}  {count}  {unit}" for sku, name, count, unit in rows]


def _labeled_lines(rows: list[Row], words: Words) -> list[str]:
    return [
        line
        for sku, name, count, unit in rows
        for line in (f"{words.heads[0]}: {sku}", f"  {name}", f"  {words.heads[2]}: {count} {unit}")
    ]


def _sentences(rows: list[Row], words: Words) -> list[str]:
    return [f"- {count} {unit} of {name} (our number {sku})" for sku, name, count, unit in rows]


LAYOUTS: tuple[Callable[[list[Row], Words], list[str]], ...] = (
    _columns, _tabs, _positions, _counted, _joined, _bars, _semicolons, _single_blanks, _right_to_left,
    _labeled_lines, _sentences,
)  # fmt: skip
READ_BY_ALT_R = 9


@dataclass(frozen=True)
class Note:
    """A document. ``printed``: its values as they stand in it. ``value``: the label that a person types."""

    name: str
    text: str
    rows: list[Row]
    lines: list[str]
    printed: dict[str, str]
    value: dict[str, Any]
    layout: int

    @property
    def is_read_by_alt_r(self) -> bool:
        """Whether its table becomes rows at one key."""
        return self.layout < READ_BY_ALT_R


def note(number: int) -> Note:
    """The delivery note of this number, from 1."""
    layout, words = (number - 1) % len(LAYOUTS), LANGUAGES[(number - 1) % len(LANGUAGES)]
    rows = _rows(number, layout)
    month, day = number % 3, 13 + number % 15
    date_text = words.write_day(day, words.months[month], 2026)
    printed = {
        "note_number": f"DN-{4700 + number}",
        "date": date_text,
        "sender": SENDERS[number % len(SENDERS)],
        "recipient": RECIPIENTS[number % len(RECIPIENTS)],
        "order_number": f"PO-{9000 + 7 * number}" if number % 4 else "",
        "remark": REMARKS[number % len(REMARKS)],
    }
    lines = LAYOUTS[layout](rows, words)
    head = [
        f"{words.title} 📄",
        "",
        f"{words.number}  {printed['note_number']}",
        f"{words.day}  {date_text}",
        f"{words.sender}  {printed['sender']}",
        f"{words.recipient}  {printed['recipient']}",
    ]
    head += [f"{words.order}  {printed['order_number']}"] if printed["order_number"] else []
    foot = [f"{words.remark}: {printed['remark']}"] if printed["remark"] else []
    value: dict[str, Any] = {name: text for name, text in printed.items() if text}
    value |= {
        "date": f"2026-{month + 1:02}-{day:02}",
        "direction": DIRECTIONS[number % 2],
        "items": [dict(zip(("sku", "description", "quantity", "unit"), row, strict=True)) for row in rows],
    }
    if number % 3:
        value["signed"] = number % 3 == 1
    text = "\n".join([*head, "", *lines, "", *foot, f"{number}/27"])
    return Note(f"dn-{number:02}", text, rows, lines, printed, value, layout)


def _rows(number: int, layout: int) -> list[Row]:
    goods = ARABIC_GOODS if number == 9 else HEBREW_GOODS if layout == 8 else GOODS
    count = 12 if number == 1 else 2 + number % 3
    prefix = 10_000 * (1 + number % 4)
    return [
        (f"{prefix + 37 * at}" if layout in (2, 7) else f"T{number}-{100 + at}", *_good(goods, number, at))
        for at in range(count)
    ]


def _good(goods: tuple[tuple[str, str], ...], number: int, at: int) -> tuple[str, int, str]:
    name, unit = goods[(number + at) % len(goods)]
    return name, 3 + (number * 31 + at * 17) % 240, unit


NOTES = [note(number) for number in range(1, 28)]
