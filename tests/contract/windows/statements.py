"""Bank statements of several pages, of which every value is known by its place in the text."""

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from slmstudio.contract.windows.windows import Window

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "iban": {"type": "string"},
        "holder": {"type": "string"},
        "currency": {"enum": ["EUR", "CHF"]},
        "opening_balance": {"type": ["number", "null"], "x-slm": {"kind": "money"}},
        "closing_balance": {"type": ["number", "null"], "x-slm": {"kind": "money"}},
        "transactions": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "date": {"type": "string", "format": "date"},
                    "description": {"type": "string"},
                    "amount": {"type": "number", "x-slm": {"kind": "money"}},
                },
                "required": ["date", "description", "amount"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["iban", "holder", "currency", "opening_balance", "closing_balance", "transactions"],
    "additionalProperties": False,
}
_PAYEES = ("GROCER", "CITY TRANSIT", "RENT HARBOR ST", "COFFEE BAR", "UTILITIES NORTH", "BOOKSTORE", "PHARMACY")
_KINDS = ("CARD PAYMENT", "TRANSFER", "DIRECT DEBIT")


@dataclass
class Statement:
    """``rows``: start and end of each transaction in the text; ``singles``: name -> the places of its value."""

    text: str = ""
    gold: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[int, int]] = field(default_factory=list)
    singles: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def read(self, window: Window) -> dict[str, Any]:
        """What a perfect model writes for a window: the rows and values that are in it completely."""

        def inside(span: tuple[int, int]) -> bool:
            return window.start <= span[0] and span[1] <= window.end

        output: dict[str, Any] = {"currency": self.gold["currency"]}
        for name, spans in self.singles.items():
            if any(map(inside, spans)):
                output[name] = self.gold[name]
            elif name.endswith("balance"):
                output[name] = None
        output["transactions"] = [
            row for row, span in zip(self.gold["transactions"], self.rows, strict=True) if inside(span)
        ]
        return output

    def write(self, text: str) -> tuple[int, int]:
        """Appends a text; returns its place."""
        start = len(self.text)
        self.text += text
        return start, len(self.text)

    def write_single(self, name: str, text: str) -> None:
        """Appends the value of a field."""
        self.singles.setdefault(name, []).append(self.write(text))


def money(value: Decimal) -> str:
    """1248.5 as it is printed: 1,248.50."""
    return f"{value:,.2f}"


def statement(seed: int = 7, *, pages: int = 10, lines: int = 30) -> Statement:
    """A statement with ``pages * lines`` transactions.

    Each page repeats its head. Some transactions are equal to the one before, some have a description of two lines.
    """
    draw = random.Random(seed)
    made = Statement()
    iban = f"DE{draw.randrange(10**19, 10**20)}"
    holder = draw.choice(("Maria Lindqvist", "Jonas Weber", "Ada Okafor"))
    balance = Decimal(draw.randrange(200_000, 900_000)) / 100
    made.gold = {
        "iban": iban, "holder": holder, "currency": "EUR", "opening_balance": balance, "closing_balance": None,
        "transactions": [],
    }  # fmt: skip
    day = 1
    row: dict[str, Any] = {}
    printed: tuple[str, str, str] = ("", "", "")
    for page in range(1, pages + 1):
        made.write("NORTHERN BANK            Statement of account\nAccount ")
        made.write_single("iban", iban)
        made.write(f"    Page {page} of {pages}\n")
        if page == 1:
            made.write("Holder: ")
            made.write_single("holder", holder)
            made.write("\nOpening balance EUR ")
            made.write_single("opening_balance", money(balance))
            made.write("\n")
        else:
            made.write(f"Carried forward EUR {money(balance)}\n")
        made.write("Date        Description                     Amount      Balance\n")
        for _ in range(lines):
            is_repeated = bool(row) and draw.random() < 0.1
            if not is_repeated:
                day = min(28, day + (draw.random() < 28 / (pages * lines)))
                description = f"{draw.choice(_KINDS)} {draw.choice(_PAYEES)}"
                reference = f"REF {draw.randrange(10_000, 99_999)}" if draw.random() < 0.2 else ""
                amount = Decimal(draw.randrange(-40_000, 25_000)) / 100
                row = {
                    "date": f"2026-03-{day:02}",
                    "description": f"{description} {reference}".strip(),
                    "amount": amount,
                }
                printed = (f"{day:02}.03.2026", description, reference)
            balance += row["amount"]
            start, _ = made.write(printed[0])
            _, end = made.write(f"  {printed[1]:<30}  {money(row['amount']):>10}")
            made.write(f"  {money(balance):>11}\n")
            if printed[2]:
                _, end = made.write(f"            {printed[2]}")
                made.write("\n")
            made.rows.append((start, end))
            made.gold["transactions"].append(dict(row))
        if page < pages:
            made.write(f"Balance carried forward EUR {money(balance)}\n\n")
    made.gold["closing_balance"] = balance
    made.write("Closing balance EUR ")
    made.write_single("closing_balance", money(balance))
    made.write("\n")
    return made
