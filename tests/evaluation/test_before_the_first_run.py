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


@pytest.mark.parametrize("path", ["prelabels/", "benchmark/", "evaluation/", "gates/", "datasets/", "training/"])
def test_every_empty_page_has_its_title(desk: Desk, path: str) -> None:
    page = desk.as_("engineer").get(desk.url(path)).content.decode()
    assert len(re.findall(r"<h1[ >]", page)) == 1
    title = re.search(r"<title>([^<·]+?) ·", page)
    assert title is not None
    assert re.search(rf'<div class="page-head">\s*<h1>{title.group(1)}</h1>', page)


def test_a_benchmark_offers_to_freeze_gold_labels(desk: Desk) -> None:
    assert links(desk, "benchmark/") == [desk.url("label/")]
    bring_in(desk.project, [invoice(number) for number in range(24)])
    for path in ("benchmark/", "benchmark/new/"):
        assert links(desk, path) == [desk.url("datasets/")]
    freeze(project=desk.project, user=desk.people["engineer"])
    assert links(desk, "benchmark/") == [desk.url("label/")]  # too few outside the hold-out
    bring_in(desk.project, [invoice(number) for number in range(100, 130)])
    assert links(desk, "benchmark/") == [desk.url("datasets/")]


def test_an_evaluation_needs_a_dataset_first(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(30)])
    assert links(desk, "evaluation/") == [desk.url("datasets/")]
    freeze(project=desk.project, user=desk.people["engineer"])
    assert links(desk, "evaluation/") == [desk.url("evaluation/new/")]


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
