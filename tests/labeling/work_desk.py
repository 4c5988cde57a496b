"""What the tests of reviews share: a desk with a reviewer, and labels by people."""

import threading
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import connection

from labeling.annotation import services as annotation_services
from labeling.models import Document, Membership, Project
from slmstudio.access import Role
from tests.labeling.label_desk import Desk, gold, make_desk


def review_desk(**settings: Any) -> Desk:
    """A desk where reviews are required, with a reviewer ``rita``."""
    desk = make_desk()
    member(desk, "rita", Role.REVIEWER)
    change(desk, **{"review_required": True, **settings})
    return desk


def member(desk: Desk, name: str, role: str = Role.ANNOTATOR) -> Any:
    """One more member; also an attribute of the desk."""
    person = get_user_model().objects.create_user(f"{name}-{desk.project.slug}", password="x")
    Membership.objects.create(project=desk.project, user=person, role=role)
    setattr(desk, name, person)
    return person


def change(desk: Desk, **settings: Any) -> None:
    """Sets fields of the project."""
    Project.objects.filter(pk=desk.project.pk).update(**settings)
    desk.project.refresh_from_db()


def submit(document: Document, user: User, base: int = 0, **changes: Any) -> annotation_services.SaveResult:
    """Submits the right label, with some fields changed; ... takes one out."""
    value = {name: inner for name, inner in {**gold(), **changes}.items() if inner is not ...}
    return annotation_services.submit(document=fresh(document), user=user, value=value, evidence={}, base_version=base)


def fresh(document: Document) -> Document:
    """The document as it is now."""
    current: Document = Document.objects.select_related("project").get(pk=document.pk)
    return current


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Runs some functions in threads with connections of their own, started together. Results in their order; what one
    raised stands for its result.
    """
    start = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(number: int, work: Callable[[], Any]) -> None:
        try:
            start.wait(10)
            results[number] = work()
        except Exception as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results
