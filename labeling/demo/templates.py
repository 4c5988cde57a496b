"""The usual jobs, ready to start from: instruction, JSON Schema and constraints of each, one JSON file
apiece.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from slmstudio.contract.schema.compiled import loads

FOLDER = Path(__file__).parent / "catalogue"
ORDER = (
    "invoice",
    "invoice-with-lines",
    "receipt",
    "ticket-routing",
    "policy-check",
    "pii-redaction",
    "address",
)


class UnknownTemplate(LookupError):
    """No template has this name; the message lists those there are."""


@dataclass(frozen=True)
class Template:
    """What a new project starts with. ``constraints`` are those of a contract; they pre-fill its gates."""

    slug: str
    title: str
    description: str
    instruction: str
    schema: dict[str, Any]
    constraints: Mapping[str, Any]


def templates() -> tuple[Template, ...]:
    """All templates, in the order in which people are offered them."""
    return tuple(template(slug) for slug in ORDER)


def template(slug: str) -> Template:
    """One template, the caller's own to change; raises UnknownTemplate. Numbers in its schema are Decimals."""
    if slug not in ORDER:
        raise UnknownTemplate(f"there is no template {slug!r}; there are {', '.join(ORDER)}")
    return copy.deepcopy(_read(slug))


@cache
def _read(slug: str) -> Template:
    text = (FOLDER / f"{slug}.json").read_text(encoding="utf-8")
    plain, exact = json.loads(text), loads(text)
    return Template(
        slug=plain["slug"],
        title=plain["title"],
        description=plain["description"],
        instruction=plain["instruction"],
        schema=exact["schema"],
        constraints=plain["constraints"],
    )
