"""What the tests of the labeling pages share: people, a project, rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import Client

from labeling.imports.bulk_copy import ImportResult, import_rows
from labeling.imports.formats.jsonl import parse_jsonl
from labeling.models import Project
from labeling.projects.services import create_project
from slmstudio.access import Role
from tests.contract.samples import SEED_TEXT

SEED_OUTPUT = '{"invoice_id": "A-1029", "date": "2026-01-14", "vendor": "Acme Supplies", "total_amount": 1248.50}'
SEED_ROW = f'{{"id": "seed", "text": {json.dumps(SEED_TEXT)}, "gold": {SEED_OUTPUT}}}'


def person(name: str) -> Any:
    """A user of this name."""
    return get_user_model().objects.create_user(name)


def browser(user: User) -> Client:
    """A client that is logged in as this person."""
    client = Client()
    client.force_login(user)
    return client


@dataclass
class Desk:
    """A project made from the invoice template, with one person per role."""

    project: Project
    people: dict[str, Any]

    def as_(self, role: str) -> Client:
        """A client of the person with this role."""
        return browser(self.people[role])

    def url(self, path: str = "") -> str:
        """An address below the project."""
        return f"/p/{self.project.slug}/{path}"


def make_desk(slug: str = "desk", template: str = "invoice") -> Desk:
    """A new desk."""
    people = {role.value: person(f"{slug}-{role}") for role in Role}
    project = create_project(
        owner=people["owner"],
        name=slug.title(),
        slug=slug,
        template=template,
        members={people[role.value]: role for role in Role if role != Role.OWNER},
    )
    return Desk(project, people)


def invoice(number: int, *, gold: bool = True, **more: Any) -> dict[str, Any]:
    """An import row; the text says what the gold says."""
    row: dict[str, Any] = {
        "id": f"inv-{number:04}",
        "text": f"Invoice F-{number} of 2026-01-14 from Acme Supplies. Total {number}.50",
        **more,
    }
    if gold:
        row["gold"] = {
            "invoice_id": f"F-{number}",
            "date": "2026-01-14",
            "vendor": "Acme Supplies",
            "total_amount": number + 0.5,
        }
    return row


def jsonl(rows: Iterator[Any] | list[Any]) -> bytes:
    """Rows as a JSONL file; texts are taken as lines that are there already."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def bring_in(project: Project, rows: list[Any], **more: Any) -> ImportResult:
    """Imports rows at once."""
    return import_rows(project=project, rows=parse_jsonl(BytesIO(jsonl(rows))), source="rows.jsonl", **more)
