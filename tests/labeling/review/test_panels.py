"""The home page names the step that the work between people brings."""

import pytest
from django.contrib.auth.models import User

from labeling.comments import services as comment_services
from labeling.review import services as review_services
from slmstudio.access import Action, project_for
from slmstudio.panels import NextStep, next_steps_for
from tests.labeling.label_desk import Desk
from tests.labeling.work_desk import change, fresh, review_desk, submit
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return review_desk()


def steps(desk: Desk, user: User) -> list[NextStep]:
    return next_steps_for(project_for(user, desk.project.slug, Action.READ), user)


def step(desk: Desk, user: User) -> NextStep:
    return steps(desk, user)[0]


def test_next_step_of_reviewer(desk: Desk) -> None:
    for _ in range(2):
        submit(desk.document(), desk.ana)
    review = step(desk, desk.rita)
    assert (review.text.split()[0], review.button, review.url) == ("2", "Review", "/p/desk/review/")
    desk.document()
    assert step(desk, desk.ben).button == "Label"


def test_conflicts_come_after_reviews(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, vendor="Acme")
    adjudicate = step(desk, desk.rita)
    assert (adjudicate.text.split()[0], adjudicate.url) == ("1", "/p/desk/review/?show=disputed")


def test_mentions_come_after_rejections_and_hide_nothing(desk: Desk) -> None:
    document = desk.document()
    submit(document, desk.ana)
    review_services.reject(document=fresh(document), user=desk.rita, reason="no")
    comment_services.add(document=fresh(document), user=desk.rita, text=f"@{desk.ana} see page 2")
    assert [(step.button, step.url) for step in steps(desk, desk.ana)] == [
        ("Correct", "/p/desk/label/"),
        ("Read", "/p/desk/mentions/"),
    ]
