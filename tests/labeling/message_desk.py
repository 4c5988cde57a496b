"""A project of short messages with a class, for what ranks documents and labels."""

import random
from typing import Any

from django.contrib.auth import get_user_model

from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import Project
from labeling.projects.services import create_project
from slmstudio.access import Role

WORDS = {"billing": "card charge refund money fee", "shipping": "parcel arrive post letter courier"}


def make_project() -> Project:
    """A project without documents; olga owns it, mona manages it, erik is its engineer and ana its annotator."""
    users: Any = get_user_model().objects
    roles = {"mona": Role.MANAGER, "erik": Role.ENGINEER, "ana": Role.ANNOTATOR}
    members = {users.create(username=name): role for name, role in roles.items()}
    return create_project(
        owner=users.create(username="olga"),
        name="Messages",
        slug="messages",
        template="ticket-routing",
        members=members,
    )


def member(project: Project, role: Role) -> Any:
    """The member with a role."""
    return project.memberships.select_related("user").get(role=role).user


def add_messages(
    project: Project, count: int, *, labeled: bool, prefix: str = "m", wrong: tuple[int, ...] = ()
) -> None:
    """Messages of both classes in turn; ``labeled`` ones have gold, of the other class where they are ``wrong``."""
    rng = random.Random(f"{prefix}{count}")
    queues = [*WORDS]
    rows = []
    for number in range(count):
        text = " ".join(rng.sample(WORDS[queues[number % 2]].split(), 4)) + f" {prefix}{number}"
        row: dict[str, Any] = {"id": f"{prefix}{number:02}", "text": text}
        if labeled:
            row["gold"] = {"queue": queues[(number + (number in wrong)) % 2]}
        rows.append(ParsedRow(number + 1, row))
    result = import_rows(project=project, rows=rows, source="test")
    assert result.rejected == 0, result.rejects
