"""What the tests of labeling share: a project of invoices with people, made by the real services."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from labeling.models import Document, Project
from labeling.projects.services import create_project
from slmstudio.access import Role
from slmstudio.contract.json_text import loads, sha256

TEXT = (
    "...Thank you for your business. Invoice A-1029 issued on Jan 14, 2026. Payment terms: Net 30. Line items omitted "
    "for brevity. Total amount due USD 1,248.50. Vendor: Acme Supplies..."
)
GOLD_TEXT = '{"invoice_id":"A-1029","date":"2026-01-14","vendor":"Acme Supplies","total_amount":1248.50}'


def gold() -> dict[str, Any]:
    """The label of ``TEXT``, a new one each time."""
    return dict(loads(GOLD_TEXT))


@dataclass
class Desk:
    """A project and its people."""

    project: Project
    owner: Any
    ana: Any
    ben: Any
    stranger: Any
    # a reviewer, one more annotator and a manager, where a test makes them (work_desk)
    rita: Any = None
    cleo: Any = None
    mia: Any = None

    def document(self, text: str = TEXT, name: str = "", **more: Any) -> Document:
        """A new document. Equal texts get a number at their end."""
        number = Document.objects.filter(project=self.project).count() + 1
        if Document.objects.filter(project=self.project, text=text).exists():
            text = f"{text} [{number}]"
        return Document.objects.create(
            project=self.project, external_id=name or f"doc-{number:04}", text=text, sha256=sha256(text), **more
        )


def make_desk(template: str = "invoice", slug: str = "desk") -> Desk:
    """A project from a template, with two annotators."""
    users = get_user_model().objects
    people = [users.create_user(f"{name}-{slug}", password="x") for name in ("owner", "ana", "ben", "stranger")]
    owner, ana, ben, stranger = people
    project = create_project(
        owner=owner, name="Desk", slug=slug, template=template, members={ana: Role.ANNOTATOR, ben: Role.ANNOTATOR}
    )
    return Desk(project, owner, ana, ben, stranger)
