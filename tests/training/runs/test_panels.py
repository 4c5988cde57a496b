"""Training on a project's home page: the newest run and the next step."""

from typing import Any

import pytest
from django.utils import timezone

from labeling.datasets.freeze import freeze
from labeling.models import DatasetVersion, Project
from slmstudio.access import Action, project_for
from slmstudio.runs.models import Status
from training.models import TrainingRun
from training.panels import last_run, training_step


@pytest.fixture
def seen(project: Project, people: dict[str, Any]) -> Any:
    """``seen("engineer")``: the project as that person sees it."""
    return lambda name: project_for(people[name], "receipts", Action.READ)


def test_strip_without_a_dataset_shows_no_runs(seen: Any, people: dict[str, Any]) -> None:
    panel = last_run(seen("engineer"), people["engineer"])
    assert panel is not None
    assert panel.template == ""
    assert [(cell["title"], cell["value"]) for cell in panel.context["strip"]] == [("Runs", "0")]
    assert training_step(seen("engineer"), people["engineer"]) is None


def test_dataset_without_a_run_is_the_next_step(dataset: DatasetVersion, seen: Any, people: dict[str, Any]) -> None:
    step = training_step(seen("engineer"), people["engineer"])
    assert step is not None
    assert step.text == "Dataset v1 has no training run yet."
    assert step.url == "/p/receipts/training/new/?dataset=1"
    assert training_step(seen("annotator"), people["annotator"]) is None


def test_no_second_run_is_the_next_step_while_one_is_queued(
    run: TrainingRun, seen: Any, people: dict[str, Any]
) -> None:
    assert freeze(project=run.project, user=people["engineer"], seed=99).number == 2
    assert training_step(seen("engineer"), people["engineer"]) is None
    TrainingRun.objects.update(status=Status.CANCELLED)
    assert training_step(seen("engineer"), people["engineer"]) is not None


def test_failed_run_is_the_next_step(run: TrainingRun, seen: Any, people: dict[str, Any]) -> None:
    assert training_step(seen("engineer"), people["engineer"]) is None
    TrainingRun.objects.update(status=Status.FAILED, error="The disk is full.")
    step = training_step(seen("engineer"), people["engineer"])
    assert step is not None
    assert step.url == "/p/receipts/training/1/"
    TrainingRun.objects.update(archived_at=timezone.now())
    assert training_step(seen("engineer"), people["engineer"]) is None


def test_panel_shows_the_last_run(run: TrainingRun, seen: Any, people: dict[str, Any], login: Any) -> None:
    panel = last_run(seen("manager"), people["manager"])
    assert panel is not None
    assert panel.context["run"].pk == run.pk
    assert 'href="/p/receipts/training/1/"' in login("manager").get("/p/receipts/").content.decode()
