"""What the tests of labeling share: a project of invoices with people, made by the real services."""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model

from labeling.annotation import predictions
from labeling.models import Document, Project, SchemaVersion
from labeling.projects.services import create_project, save_contract
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps, loads, sha256
from tests.contract.samples import SEED_TARGET, SEED_TEXT

TEXT = SEED_TEXT
GOLD_TEXT = SEED_TARGET


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


def change_schema(project: Project, user: Any, instruction: str = "Do it.", **properties: Any) -> SchemaVersion:
    """Saves the schema with properties added, or with more keywords in properties that it has."""
    schema = loads(project.schema_version.schema_text)
    for name, keywords in properties.items():
        schema["properties"].setdefault(name, {}).update(keywords)
    text = dumps(schema)
    version = save_contract(project=project, user=user, instruction=instruction, schema_text=text, constraints={})
    project.contract.refresh_from_db()
    return version


def pre_label(document: Document, raw: str, source: str = "s", **more: Any) -> None:
    """Records the output of a model for a document."""
    project = Project.objects.get(pk=document.project_id)
    proposals = [predictions.PredictionInput(document.pk, raw, **more)]
    version = project.schema_version
    predictions.record(project=project, schema_version=version, proposals=proposals, model="m", source=source)
