"""Templates of common tasks: instruction, JSON Schema and constraints, one JSON file each."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from slmstudio.contract.schema.compiled import loads

FOLDER = Path(__file__).parent / "catalog"
BLANK = "blank"
ORDER = (
    BLANK,
    "invoice",
    "invoice-with-lines",
    "receipt",
    "ticket-routing",
    "policy-check",
    "pii-redaction",
    "address",
)


class UnknownTemplate(LookupError):
    """There is no template with this name; the message lists the names."""


@dataclass(frozen=True)
class Template:
    """The initial contract of a project. ``constraints``: of projects that programs create; a person sets their own."""

    slug: str
    title: str
    description: str
    instruction: str
    schema: dict[str, Any]
    constraints: Mapping[str, Any]


def templates() -> tuple[Template, ...]:
    """All templates in display order."""
    return tuple(template(slug) for slug in ORDER)


def template(slug: str) -> Template:
    """A copy of a template, with Decimal numbers in its schema.

    Raises:
        UnknownTemplate: it does not exist.
    """
    if slug not in ORDER:
        raise UnknownTemplate(f"there is no template {slug!r}. The templates are {', '.join(ORDER)}")
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
