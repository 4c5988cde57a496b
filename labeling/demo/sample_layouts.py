"""The layouts of the sample invoices: different structures for the same facts."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labeling.demo.samples import InvoiceFacts


@dataclass(frozen=True)
class TextPart:
    """A line or sentence. In a short document, parts with the highest ``filling`` are dropped; 0 never is."""

    text: str
    filling: int = 0


@dataclass(frozen=True)
class Layout:
    """A layout: its parts, and the text between them."""

    write: Callable[["InvoiceFacts", random.Random], list[TextPart]]
    joiner: str = "\n"
    tags: tuple[str, ...] = ()


class PhraseWriter:
    """Chooses phrases for an invoice, consistently by name."""

    def __init__(self, facts: "InvoiceFacts", rng: random.Random) -> None:
        self.facts, self.rng = facts, rng
        self.chosen: dict[str, str] = {}

    def phrase(self, name: str) -> str:
        """A phrase of the country."""
        if name not in self.chosen:
            self.chosen[name] = self.rng.choice(self.facts.country.words[name])
        return self.chosen[name]

    def line(self, name: str, value: str) -> str:
        """ "Label value", or "" without a value."""
        return f"{self.phrase(name)} {value}" if value else ""

    @property
    def total_label(self) -> str:
        """The phrase for the total; an unambiguous one if a part is paid."""
        return self.phrase("total_with_balance" if self.facts.paid else "total")

    def total_line(self) -> str:
        return f"{self.total_label} {self.facts.total}" if self.facts.total else ""

    def tax_lines(self) -> list[TextPart]:
        facts = self.facts
        if not facts.subtotal:
            return []
        tax = f"{self.phrase('tax')} {facts.tax_rate} % {facts.tax}"
        return [TextPart(self.line("subtotal", facts.subtotal), filling=1), TextPart(tax, filling=2)]

    def paid_lines(self) -> list[TextPart]:
        facts = self.facts
        if not facts.paid:
            return []
        return [TextPart(self.line("paid", facts.paid)), TextPart(self.line("balance", facts.balance))]

    def other_dates(self) -> list[TextPart]:
        return [TextPart(self.line(name, day), filling=1) for name, day in self.facts.other_dates]

    def customer(self) -> str:
        """The customer, with a label unless the invoice has none."""
        return self.line("customer", self.facts.customer) if self.facts.has_labels else self.facts.customer


def letterhead(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """The vendor on top, then a head, then the totals."""
    writer = PhraseWriter(facts, rng)
    head = [TextPart(writer.line("number", facts.invoice_id)), TextPart(writer.line("date", facts.date))]
    middle = [TextPart(writer.line("due", facts.due_date)), TextPart(writer.line("order", facts.purchase_order))]
    rng.shuffle(middle)
    return [
        TextPart(facts.vendor),
        TextPart(facts.place, filling=2),
        TextPart(writer.phrase("title"), filling=2),
        *head,
        *writer.other_dates(),
        TextPart(writer.customer(), filling=2),
        *middle,
        *writer.tax_lines(),
        TextPart(writer.total_line()),
        *writer.paid_lines(),
        TextPart(writer.phrase("thanks"), filling=2),
    ]


def letter(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """Running text, as in an e-mail."""
    writer = PhraseWriter(facts, rng)
    opening = _sentence(writer, "letter", facts)
    label = writer.total_label
    total = (
        writer.phrase("letter_total").format(label=label, lower=label.lower(), total=facts.total) if facts.total else ""
    )
    due = writer.phrase("letter_due").format(due=facts.due_date) if facts.due_date else ""
    body = [
        TextPart(_stop(writer.line("order", facts.purchase_order))),
        *[TextPart(_stop(part.text), part.filling) for part in writer.other_dates()],
        *[TextPart(_stop(part.text), part.filling) for part in writer.tax_lines()],
    ]
    closing = writer.phrase("letter_vendor").format(vendor=facts.vendor) if facts.vendor else ""
    return [
        TextPart(writer.phrase("thanks"), filling=2),
        TextPart(opening),
        TextPart(writer.phrase(rng.choice(("terms", "omitted"))), filling=2),
        *body,
        TextPart(total),
        *[TextPart(_stop(part.text)) for part in writer.paid_lines()],
        TextPart(due),
        TextPart(closing),
    ]


def _sentence(writer: PhraseWriter, name: str, facts: "InvoiceFacts") -> str:
    """The opening sentence, or a shorter one if number or date is missing."""
    if facts.invoice_id and facts.date:
        return writer.phrase(name).format(number=facts.invoice_id, date=facts.date)
    return _stop(writer.line("number", facts.invoice_id) or writer.line("date", facts.date))


def _stop(text: str) -> str:
    return f"{text}." if text else ""


def table(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """A row of labels over a row of values."""
    writer = PhraseWriter(facts, rng)
    cells = [
        (writer.phrase("number"), facts.invoice_id),
        (writer.phrase("date"), facts.date),
        (writer.phrase("due"), facts.due_date),
        (writer.phrase("order"), facts.purchase_order),
        (writer.phrase("customer"), facts.customer if facts.has_labels else ""),
    ]
    kept = [(label.rstrip(" :."), value) for label, value in cells if value]
    gap = rng.choice((" | ", "   ", " / "))
    return [
        TextPart(f"{writer.phrase('title')} {facts.vendor}" if facts.vendor else writer.phrase("title")),
        TextPart(facts.place, filling=2),
        TextPart(gap.join(label for label, _ in kept)),
        TextPart(gap.join(value for _, value in kept)),
        *writer.other_dates(),
        *writer.tax_lines(),
        TextPart(writer.total_line()),
        *writer.paid_lines(),
    ]


def slip(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """Labeled lines in random order."""
    writer = PhraseWriter(facts, rng)
    lines = [
        TextPart(writer.line("number", facts.invoice_id)),
        TextPart(writer.line("date", facts.date)),
        TextPart(writer.line("due", facts.due_date)),
        TextPart(writer.line("order", facts.purchase_order)),
        TextPart(writer.line("vendor", facts.vendor)),
        TextPart(writer.line("customer", facts.customer), filling=2),
        TextPart(writer.total_line()),
        *writer.other_dates(),
        *writer.tax_lines(),
        *writer.paid_lines(),
    ]
    rng.shuffle(lines)
    return [TextPart(writer.phrase("title"), filling=2), *lines]


def remittance(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """The amount first, the vendor last."""
    writer = PhraseWriter(facts, rng)
    return [
        TextPart(f"{writer.phrase('title')} {facts.invoice_id}".rstrip()),
        TextPart(writer.customer(), filling=2),
        *writer.tax_lines(),
        TextPart(writer.total_line()),
        *writer.paid_lines(),
        TextPart(writer.line("due", facts.due_date)),
        TextPart(writer.line("date", facts.date)),
        *writer.other_dates(),
        TextPart(writer.line("order", facts.purchase_order)),
        TextPart(writer.line("remit", facts.vendor)),
        TextPart(facts.place, filling=2),
    ]


def labels_below(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """Each value above its label, as on some forms."""
    writer = PhraseWriter(facts, rng)
    rows = [
        (facts.vendor, writer.phrase("vendor")),
        (facts.invoice_id, writer.phrase("number")),
        (facts.date, writer.phrase("date")),
        (facts.due_date, writer.phrase("due")),
        (facts.purchase_order, writer.phrase("order")),
        (facts.total, writer.total_label),
    ]
    parts = [TextPart(f"{value}\n({label.rstrip(' :.').lower()})") for value, label in rows if value]
    return [*parts, *writer.other_dates(), *writer.tax_lines(), *writer.paid_lines()]


def one_line(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """Everything in one line."""
    writer = PhraseWriter(facts, rng)
    return [
        TextPart(facts.vendor),
        TextPart(writer.phrase("title"), filling=2),
        TextPart(facts.invoice_id),
        TextPart(facts.date),
        *writer.other_dates(),
        TextPart(writer.line("order", facts.purchase_order)),
        *writer.tax_lines(),
        TextPart(writer.total_line()),
        *writer.paid_lines(),
        TextPart(writer.line("due", facts.due_date)),
    ]


def leaders(facts: "InvoiceFacts", rng: random.Random) -> list[TextPart]:
    """A form with dots between label and value."""
    writer = PhraseWriter(facts, rng)
    rows = [
        (writer.phrase("number"), facts.invoice_id),
        (writer.phrase("date"), facts.date),
        (writer.phrase("due"), facts.due_date),
        (writer.phrase("order"), facts.purchase_order),
        *[(writer.phrase(name), day) for name, day in facts.other_dates],
        *([(writer.phrase("subtotal"), facts.subtotal)] if facts.subtotal else []),
        (writer.total_label, facts.total),
    ]
    parts = [TextPart(f"{label.rstrip(' :.')} ..... {value}") for label, value in rows if value]
    return [
        *parts,
        *writer.paid_lines(),
        TextPart(writer.line("remit", facts.vendor)),
        TextPart(facts.place, filling=2),
    ]


COMMON = (
    (26, Layout(letterhead)),
    (20, Layout(letter, joiner=" ")),
    (14, Layout(table)),
    (16, Layout(slip)),
    (16, Layout(remittance)),
    (3, Layout(labels_below, tags=("rare_layout",))),
    (3, Layout(one_line, joiner="; ", tags=("rare_layout",))),
    (3, Layout(leaders, tags=("rare_layout",))),
)


def choose(rng: random.Random) -> Layout:
    """A random layout, common ones more often."""
    return rng.choices([layout for _, layout in COMMON], [weight for weight, _ in COMMON])[0]
