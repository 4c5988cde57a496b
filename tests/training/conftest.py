"""A project with people in every role, a frozen dataset of short receipts, and the tiny model.

Django's models are imported by the fixtures that use them, so that the tests of the child processes need no Django.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.shared_rows import shared_fixture

if TYPE_CHECKING:
    from django.test import Client

    from labeling.models import DatasetVersion, Project
    from slmstudio.workers.hardware import Hardware
    from training.models import BaseModel, LengthReport, TrainingRun


def receipt(number: int) -> dict[str, Any]:
    """One short receipt with its gold."""
    gold = {
        "company": f"SHOP {number} SDN BHD",
        "date": f"{number % 28 + 1:02}/03/2018",
        "address": f"NO {number}, JALAN {number % 5}",
        "total": f"{number}.50",
    }
    text = "\n".join([gold["company"], gold["address"], f"DATE {gold['date']}", f"TOTAL {gold['total']}"])
    return {"id": f"r{number}", "text": text, "gold": gold}


@shared_fixture
def people(db: None) -> dict[str, Any]:
    """A user for each role, and a stranger. Users with the run permission can download models."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group

    from slmstudio.access import Role
    from slmstudio.accounts.global_permissions import GROUP

    users = get_user_model().objects
    people = {name: users.create_user(name, password="x") for name in [*Role.values, "stranger"]}
    Group.objects.get(name=GROUP).user_set.add(people["engineer"], people["owner"])
    return people


@shared_fixture
def project(people: dict[str, Any]) -> "Project":
    """A project on receipts; every user but the stranger has the role of their name."""
    from labeling.projects.services import create_project
    from slmstudio.access import Role

    members = {people[role]: role for role in Role.values if role != Role.OWNER}
    return create_project(owner=people["owner"], name="Receipts", slug="receipts", template="receipt", members=members)


@shared_fixture
def dataset(project: "Project", people: dict[str, Any]) -> "DatasetVersion":
    """Twenty receipts, frozen: training, validation and hold-out."""
    from labeling.datasets.freeze import freeze
    from labeling.imports.bulk_copy import import_rows
    from labeling.imports.rows import ParsedRow

    parsed = (ParsedRow(number, receipt(number)) for number in range(1, 21))
    import_rows(project=project, rows=parsed, source="test", user=people["engineer"])
    return freeze(project=project, user=people["engineer"], validation_share=0.2)


@shared_fixture
def lengths(dataset: "DatasetVersion", tiny_base_model: "BaseModel") -> "LengthReport":
    """A length report that is done: every row has 100 tokens, the first training row 300."""
    from labeling.datasets.queries import rows
    from slmstudio.runs.models import Status
    from training.models import LengthReport

    measured = [[row["id"], row["split"], 80, 20] for row in rows(dataset)]
    next(row for row in measured if row[1] == "train")[2] = 280
    return LengthReport.objects.create(
        dataset=dataset,
        base_model=tiny_base_model,
        status=Status.DONE,
        lengths=measured,
        longest=300,
        model_sha256=tiny_base_model.sha256,
    )


@shared_fixture
def run(lengths: "LengthReport", queues: None) -> "TrainingRun":
    """A queued run of the engineer."""
    from tests.training.fakes import start_run

    return start_run(lengths)


@pytest.fixture
def login(people: dict[str, Any]) -> "Callable[[str], Client]":
    """``login("engineer")`` returns a client of that user."""
    from django.test import Client

    def make(name: str) -> "Client":
        client = Client()
        client.force_login(people[name])
        return client

    return make


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> "Callable[[Hardware | None], None]":
    """``hardware(x)``: the worker of the queue gpu has this machine; at first there is none."""

    def set_to(machine: "Hardware | None") -> None:
        monkeypatch.setattr("slmstudio.workers.live_workers.hardware_of", lambda queue: machine)

    set_to(None)
    return set_to
