"""What the pages of evaluation say before anything is frozen, trained or evaluated."""

import re
from pathlib import Path
from typing import Any

import pytest

from evaluation.gates.prerequisites import prerequisites
from labeling.datasets.freeze import freeze
from labeling.models import DatasetVersion
from tests.evaluation.factories import evaluated, make_world, right
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


def links(desk: Desk, path: str, role: str = "engineer") -> list[str]:
    """The addresses of the main buttons of a page."""
    page = desk.as_(role).get(desk.url(path)).content.decode()
    main = page[page.index("<main") : page.index("</main>")]
    return re.findall(r'class="btn btn-primary" href="([^"]+)"', main)


def test_gates_name_the_order(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(30)])
    assert [step.is_done for step in prerequisites(desk.project).steps] == [False, False, False]
    assert links(desk, "gates/") == [desk.url("datasets/")]
    assert links(desk, "gates/", "manager") == []
    freeze(project=desk.project, user=desk.people["engineer"])
    assert links(desk, "gates/") == [desk.url("training/new/")]


def test_gates_ask_for_the_holdout_last(db: None, tmp_path: Path, client: Any) -> None:
    world = make_world(tmp_path)
    steps = prerequisites(world.project)
    assert steps.next == steps.steps[-1]
    evaluated(world, right)
    assert DatasetVersion.objects.count() == 1
    assert prerequisites(world.project).next is None
