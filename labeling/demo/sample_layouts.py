"""How the sample invoices are laid out: structurally different papers telling the same facts."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labeling.demo.samples import Facts


@dataclass(frozen=True)
class Part:
    """A line or sentence. Where the paper is short, what has the highest ``filling`` is dropped; 0 never is."""

    text: str
    filling: int = 0


@dataclass(frozen=True)
class Layout:
    """A way to write an invoice: its parts, and what stands between them."""

    write: Callable[["Facts", random.Random], list[Part]]
    joiner: str = "\n"
    tags: tuple[str, ...] = ()


class Pen:
    """Picks words for one invoice, the same label each time it is asked for."""

    def __init__(self, facts: "Facts", rng: random.Random) -> None:
        self.facts, self.rng = facts, rng
        self.chosen: dict[str, str] = {}

    def say(self, name: str) -> str:
        """One of the country's words for this."""
        if name not in self.chosen:
            self.chosen[name] = self.rng.choice(self.facts.country.words[name])
        return self.chosen[name]

    def line(self, name: str, value: str) -> str:
        """ "Label value", or "" where there is no value."""
        return f"{self.say(name)} {value}" if value else ""

    @property
    def total_label(self) -> str:
        """The word for the total; one that cannot mean what is left to pay, where something is paid already."""
        return self.say("total_with_balance" if self.facts.paid else "total")

    def total_line(self) -> str:
        return f"{self.total_label} {self.facts.total}" if self.facts.total else ""

    def tax_lines(self) -> list[Part]:
        facts = self.facts
        if not facts.subtotal:
            return []
        tax = f"{self.say('tax')} {facts.tax_rate} % {facts.tax}"
        return [Part(self.line("subtotal", facts.subtotal), filling=1), Part(tax, filling=2)]

    def paid_lines(self) -> list[Part]:
        facts = self.facts
        if not facts.paid:
            return []
        return [Part(self.line("paid", facts.paid)), Part(self.line("balance", facts.balance))]

    def other_dates(self) -> list[Part]:
        return [Part(self.line(name, day), filling=1) for name, day in self.facts.other_dates]

    def customer(self) -> str:
        """The customer, with a label unless this paper leaves it to the reader to see who is who."""
        return self.line("customer", self.facts.customer) if self.facts.labelled else self.facts.customer


def letterhead(facts: "Facts", rng: random.Random) -> list[Part]:
    """The vendor on top, then a head, then the totals."""
    pen = Pen(facts, rng)
    head = [Part(pen.line("number", facts.invoice_id)), Part(pen.line("date", facts.date))]
    middle = [Part(pen.line("due", facts.due_date)), Part(pen.line("order", facts.purchase_order))]
    rng.shuffle(middle)
    return [
        Part(facts.vendor),
        Part(facts.place, filling=2),
        Part(pen.say("title"), filling=2),
        *head,
        *pen.other_dates(),
        Part(pen.customer(), filling=2),
        *middle,
        *pen.tax_lines(),
        Part(pen.total_line()),
        *pen.paid_lines(),
        Part(pen.say("thanks"), filling=2),
    ]


def letter(facts: "Facts", rng: random.Random) -> list[Part]:
    """Running text, as in an e-mail."""
    pen = Pen(facts, rng)
    opening = _sentence(pen, "letter", facts)
    label = pen.total_label
    total = pen.say("letter_total").format(label=label, lower=label.lower(), total=facts.total) if facts.total else ""
    due = pen.say("letter_due").format(due=facts.due_date) if facts.due_date else ""
    body = [
        Part(_stop(pen.line("order", facts.purchase_order))),
        *[Part(_stop(part.text), part.filling) for part in pen.other_dates()],
        *[Part(_stop(part.text), part.filling) for part in pen.tax_lines()],
    ]
    closing = pen.say("letter_vendor").format(vendor=facts.vendor) if facts.vendor else ""
    return [
        Part(pen.say("thanks"), filling=2),
        Part(opening),
        Part(pen.say(rng.choice(("terms", "omitted"))), filling=2),
        *body,
        Part(total),
        *[Part(_stop(part.text)) for part in pen.paid_lines()],
        Part(due),
        Part(closing),
    ]


def _sentence(pen: Pen, name: str, facts: "Facts") -> str:
    """The opening sentence, or what is left of it where number or date is missing."""
    if facts.invoice_id and facts.date:
        return pen.say(name).format(number=facts.invoice_id, date=facts.date)
    return _stop(pen.line("number", facts.invoice_id) or pen.line("date", facts.date))


def _stop(text: str) -> str:
    return f"{text}." if text else ""


def table(facts: "Facts", rng: random.Random) -> list[Part]:
    """A row of labels over a row of values."""
    pen = Pen(facts, rng)
    cells = [
        (pen.say("number"), facts.invoice_id),
        (pen.say("date"), facts.date),
        (pen.say("due"), facts.due_date),
        (pen.say("order"), facts.purchase_order),
        (pen.say("customer"), facts.customer if facts.labelled else ""),
    ]
    kept = [(label.rstrip(" :."), value) for label, value in cells if value]
    gap = rng.choice((" | ", "   ", " / "))
    return [
        Part(f"{pen.say('title')} {facts.vendor}" if facts.vendor else pen.say("title")),
        Part(facts.place, filling=2),
        Part(gap.join(label for label, _ in kept)),
        Part(gap.join(value for _, value in kept)),
        *pen.other_dates(),
        *pen.tax_lines(),
        Part(pen.total_line()),
        *pen.paid_lines(),
    ]


def slip(facts: "Facts", rng: random.Random) -> list[Part]:
    """Labelled lines in any order."""
    pen = Pen(facts, rng)
    lines = [
        Part(pen.line("number", facts.invoice_id)),
        Part(pen.line("date", facts.date)),
        Part(pen.line("due", facts.due_date)),
        Part(pen.line("order", facts.purchase_order)),
        Part(pen.line("vendor", facts.vendor)),
        Part(pen.line("customer", facts.customer), filling=2),
        Part(pen.total_line()),
        *pen.other_dates(),
        *pen.tax_lines(),
        *pen.paid_lines(),
    ]
    rng.shuffle(lines)
    return [Part(pen.say("title"), filling=2), *lines]


def remittance(facts: "Facts", rng: random.Random) -> list[Part]:
    """What to pay first, whom to pay last."""
    pen = Pen(facts, rng)
    return [
        Part(f"{pen.say('title')} {facts.invoice_id}".rstrip()),
        Part(pen.customer(), filling=2),
        *pen.tax_lines(),
        Part(pen.total_line()),
        *pen.paid_lines(),
        Part(pen.line("due", facts.due_date)),
        Part(pen.line("date", facts.date)),
        *pen.other_dates(),
        Part(pen.line("order", facts.purchase_order)),
        Part(pen.line("remit", facts.vendor)),
        Part(facts.place, filling=2),
    ]


def labels_below(facts: "Facts", rng: random.Random) -> list[Part]:
    """Each value stands above its label, as on some forms."""
    pen = Pen(facts, rng)
    rows = [
        (facts.vendor, pen.say("vendor")),
        (facts.invoice_id, pen.say("number")),
        (facts.date, pen.say("date")),
        (facts.due_date, pen.say("due")),
        (facts.purchase_order, pen.say("order")),
        (facts.total, pen.total_label),
    ]
    parts = [Part(f"{value}\n({label.rstrip(' :.').lower()})") for value, label in rows if value]
    return [*parts, *pen.other_dates(), *pen.tax_lines(), *pen.paid_lines()]


def one_line(facts: "Facts", rng: random.Random) -> list[Part]:
    """Everything in one line, as a till or a telegram would have it."""
    pen = Pen(facts, rng)
    return [
        Part(facts.vendor),
        Part(pen.say("title"), filling=2),
        Part(facts.invoice_id),
        Part(facts.date),
        *pen.other_dates(),
        Part(pen.line("order", facts.purchase_order)),
        *pen.tax_lines(),
        Part(pen.total_line()),
        *pen.paid_lines(),
        Part(pen.line("due", facts.due_date)),
    ]


def leaders(facts: "Facts", rng: random.Random) -> list[Part]:
    """A form with dots between label and value."""
    pen = Pen(facts, rng)
    rows = [
        (pen.say("number"), facts.invoice_id),
        (pen.say("date"), facts.date),
        (pen.say("due"), facts.due_date),
        (pen.say("order"), facts.purchase_order),
        *[(pen.say(name), day) for name, day in facts.other_dates],
        *([(pen.say("subtotal"), facts.subtotal)] if facts.subtotal else []),
        (pen.total_label, facts.total),
    ]
    parts = [Part(f"{label.rstrip(' :.')} ..... {value}") for label, value in rows if value]
    return [*parts, *pen.paid_lines(), Part(pen.line("remit", facts.vendor)), Part(facts.place, filling=2)]


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
    """A layout, the usual ones more often."""
    return rng.choices([layout for _, layout in COMMON], [weight for weight, _ in COMMON])[0]
