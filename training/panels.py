"""What pages of a project show about training: the last run, token lengths, and what an engineer could do next."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from slmstudio.panels import NextStep, PanelContent, next_step, register
from slmstudio.runs.models import Status
from training.models import TrainingRun
from training.runs.queries import newest_dataset_without_run
from training.runs.token_length_views import lengths_context


@register("home", 40)
def last_run(project: Any, user: User) -> PanelContent | None:
    """The newest run with its state and figures."""
    run = TrainingRun.objects.of_project(project).first()
    cell = {"title": "Runs", "value": "0", "note": "none yet", "url": reverse("training", args=[project.slug])}
    if run is None:
        return PanelContent("", {"strip": [cell]})
    cell |= {"value": str(run.number), "note": f"newest {run.get_status_display()}"}
    return PanelContent("training/runs/panel.html", {"run": run, "project": project, "strip": [cell]})


@register("dataset", 10)
def token_lengths(dataset: Any, user: User) -> PanelContent:
    """How long its documents are in tokens of each base model, and what would not fit."""
    return PanelContent("training/runs/token_lengths.html", lengths_context(dataset))


@next_step(40)
def train_or_mend(project: Any, user: User) -> NextStep | None:
    """For those who may train: a dataset version that waits for its first run, or a run that failed."""
    if "run" not in getattr(project, "can", ()):
        return None
    dataset = newest_dataset_without_run(project)
    if dataset is not None:
        address = f"{reverse('training_new', args=[project.slug])}?dataset={dataset.number}"
        return NextStep(f"Dataset v{dataset.number} has no training run yet.", "Train a model", address)
    run: Any = TrainingRun.objects.filter(project=project).order_by("-number").first()
    if run is not None and run.status == Status.FAILED:
        return NextStep(
            f"Training run {run.number} failed. See why, and start it again.", "Look at it", run.get_absolute_url()
        )
    return None
