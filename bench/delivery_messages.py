"""The made-up messages of ``bench.delivery_walk``: to a shop, with a queue and the number of an order.

``usual`` are those that the models are trained on. ``marketplace`` are of a kind without labels: a marketplace's
order numbers are so long that the output exceeds the token limit, which follows from the longest label.
"""

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

SCHEMA: dict[str, Any] = {
    "title": "Messages to a shop",
    "type": "object",
    "additionalProperties": False,
    "required": ["queue", "order"],
    "properties": {
        "queue": {
            "title": "Queue",
            "type": "string",
            "enum": ["refund", "delivery", "invoice", "cancel"],
            "x-slm": {"kind": "class", "evidence": "none"},
        },
        "order": {
            "title": "Order number",
            "type": ["string", "null"],
            "x-slm": {"kind": "identifier", "evidence": "expected"},
        },
    },
}
CONTRACT: dict[str, Any] = {
    "instruction": "Which queue does the message go to, and which order is it about?",
    "schema": SCHEMA,
    "constraints": {"latency_p95_ms": 5000, "hardware_memory_gb": 6},
}
#: what a model has to prove on the hold-out
GATES: dict[str, Any] = {
    "only_look": False,
    "gates": [
        {"key": "schema-valid", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.9},
        {"key": "wrong", "metric": "document_error_rate", "operator": "<=", "threshold": 0.3},
    ],
}
_ASKS = {
    "refund": ("I want my money back for", "Please refund", "You still owe me the refund of", "Where is the refund of"),
    "delivery": ("When do you deliver", "I am waiting for the delivery of", "The courier never came with",
                 "Deliver at last"),
    "invoice": ("I need the invoice of", "Please send the invoice for", "The tax office wants an invoice of",
                "Our accountant lacks the invoice for"),
    "cancel": ("Please cancel", "I want to cancel", "Cancel at once", "May I still cancel"),
}  # fmt: skip
_THINGS = (
    "the blue raincoat", "two garden chairs", "a coffee grinder", "the running shoes", "my new headphones",
    "a set of towels", "the wooden puzzle", "a bicycle pump", "the desk lamp", "three picture frames", "a wool blanket",
    "the camping stove", "a chess board", "the kettle", "my daughter's backpack", "a pair of gloves",
)  # fmt: skip
_OPENINGS = (
    "Hello,", "Good morning!", "Dear team,", "Hi there,", "To whom it may concern:", "Good evening,", "Hey,", "Sirs,",
)  # fmt: skip
_REMARKS = (
    "I live on the third floor.", "My phone is always on.", "This is the second time I write.", "We leave on Friday.",
    "It was meant as a present.", "Your site was slow today.", "The weather does not help.",
    "A colleague recommended you.", "I ordered it last month.",
    "The phone is never answered.", "There was no note in the mailbox.", "I am very disappointed.", "Take your time.",
)  # fmt: skip
_NAMES = ("Ada", "Boris", "Chiara", "Dmitri", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Liam", "Mei",
          "Nadia", "Oskar", "Priya", "Quentin", "Rosa", "Sven", "Tara")  # fmt: skip
_LETTERS = "ABCDEFGHKLMNPRSTUVWXYZ"
#: groups of five digits in a number of the marketplace: some 80 tokens
_GROUPS = 13


def usual(number: int, seed: int) -> Iterator[dict[str, Any]]:
    """``number`` rows with id, text and gold."""
    chance = random.Random(seed)
    for at in range(number):
        order = None if chance.random() < 0.15 else _order(chance)
        yield _row(chance, f"usual-{seed}-{at}", order)


def marketplace(number: int, seed: int) -> Iterator[dict[str, Any]]:
    """``number`` rows whose order number is that of a marketplace."""
    chance = random.Random(seed)
    for at in range(number):
        digits = "-".join(f"{chance.randrange(100_000):05}" for _ in range(_GROUPS))
        yield _row(chance, f"marketplace-{seed}-{at}", f"{chance.choice(_LETTERS)}{digits}")


def requests(seed: int) -> Callable[[float], tuple[str, dict[str, Any]]]:
    """Returns a function that returns kind and row of the next request, given the share of the marketplace."""
    chance = random.Random(seed)
    sources = {"usual": usual(1_000_000, seed + 1), "marketplace": marketplace(1_000_000, seed + 2)}

    def following(share: float) -> tuple[str, dict[str, Any]]:
        kind = "marketplace" if chance.random() < share else "usual"
        return kind, next(sources[kind])

    return following


def read(text: str) -> dict[str, Any]:
    """What a person reads in a message: the gold label of its row."""
    queue = next(name for name, asks in _ASKS.items() if any(ask in text for ask in asks))
    order = re.search(r"order (?:is )?([#A-Z0-9][A-Z0-9-]+)", text)
    return {"queue": queue, "order": order[1].rstrip("-") if order else None}


def _order(chance: random.Random) -> str:
    kind = chance.randrange(4)
    if kind == 0:
        return f"#{chance.randrange(10_000, 100_000)}"
    if kind == 1:
        return f"{chance.choice(_LETTERS)}-{chance.randrange(1_000, 10_000)}-{chance.randrange(10, 100)}"
    if kind == 2:
        return f"{chance.randrange(10_000_000, 100_000_000)}"
    return f"{chance.choice(_LETTERS)}{chance.choice(_LETTERS)}{chance.randrange(100_000):05}"


def _row(chance: random.Random, key: str, order: str | None) -> dict[str, Any]:
    queue = chance.choice(list(_ASKS))
    ask = f"{chance.choice(_ASKS[queue])} {chance.choice(_THINGS)}"
    if order is not None:
        ask += chance.choice((f", order {order}", f" (order {order})", f". The order is {order}"))
    remarks = chance.sample(_REMARKS, 2)
    parts = [chance.choice(_OPENINGS), *remarks[:1], f"{ask}.", *remarks[1:]]
    text = f"{' '.join(parts)}\n{chance.choice(_NAMES)}"
    return {"id": key, "text": text, "gold": {"queue": queue, "order": order}}
