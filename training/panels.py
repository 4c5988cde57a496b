"""Panels of training on project pages: the newest run, token lengths, and the next step."""

from django.contrib.auth.models import User
from django.urls import reverse

from labeling.datasets.queries import has_current_schema
from labeling.models import DatasetVersion, Project
from slmstudio.panels import NextStep, PanelContent, next_step, register
from slmstudio.runs.models import Status
from training.models import TrainingRun
from training.runs.queries import newest_dataset_without_run
from training.runs.token_length_views import lengths_context


@register("home", 40)
def last_run(project: Project, user: User) -> PanelContent | None:
    """The newest run with its status and metrics."""
    run = TrainingRun.objects.for_table(project).first()
    cell = {"title": "Runs", "value": "0", "note": "None yet", "url": reverse("training", args=[project.slug])}
    if run is None:
        return PanelContent("", {"strip": [cell]})
    cell |= {"value": str(run.number), "note": f"newest {run.get_status_display().lower()}"}
    return PanelContent("training/runs/panel.html", {"run": run, "project": project, "strip": [cell]})


@register("dataset", 10)
def token_lengths(dataset: DatasetVersion, user: User) -> PanelContent:
    """Token lengths of a dataset version, by base model."""
    return PanelContent("training/runs/token_lengths.html", lengths_context(dataset))


@next_step(40)
def training_step(project: Project, user: User) -> NextStep | None:
    """For users who can train: a dataset version without a run, or a failed run."""
    if "run" not in getattr(project, "can", ()):
        return None
    dataset = newest_dataset_without_run(project)
    if dataset is not None and has_current_schema(dataset):
        address = f"{reverse('training_new', args=[project.slug])}?dataset={dataset.number}"
        return NextStep(f"Dataset v{dataset.number} has no training run yet.", "Train a model", address)
    run = TrainingRun.objects.of_project(project).filter(archived_at=None).first()
    if run is not None and run.status == Status.FAILED:
        return NextStep(f"Training run {run.number} failed.", "View run", run.get_absolute_url())
    return None
