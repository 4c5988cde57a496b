"""What a project needs before its first gate report, in order."""

from dataclasses import dataclass

from django.urls import reverse

from evaluation.models import EvalRun
from labeling.models import DatasetVersion, Project
from training.models import ModelVersion, TrainingRun


@dataclass(frozen=True)
class Prerequisite:
    """A step to a gate report. ``url``: the page where it is done, or of the run that is doing it."""

    title: str
    is_done: bool
    button: str
    url: str


@dataclass(frozen=True)
class Prerequisites:
    """The steps to a gate report in order; ``next`` is the first that is not done, None after the last one."""

    steps: list[Prerequisite]

    @property
    def next(self) -> Prerequisite | None:
        """The first step that is not done."""
        return next((step for step in self.steps if not step.is_done), None)


def prerequisites(project: Project) -> Prerequisites:
    """A dataset version, a model, and its evaluation on the hold-out."""

    def address(view: str, query: str = "") -> str:
        return reverse(view, args=[project.slug]) + query

    training = TrainingRun.objects.filter(project=project).live().order_by("-number").first()
    evaluations = EvalRun.objects.filter(project=project).on_holdout()
    evaluation = evaluations.live().order_by("-number").first()
    return Prerequisites(
        [
            Prerequisite(
                "Freeze a dataset version with a hold-out",
                DatasetVersion.objects.filter(project=project).exists(),
                "Freeze a version",
                address("datasets"),
            ),
            Prerequisite(
                "Train a model on it",
                ModelVersion.objects.filter(project=project).exists(),
                "Train a model" if training is None else "View run",
                address("training_new") if training is None else training.get_absolute_url(),
            ),
            Prerequisite(
                "Evaluate the model on the hold-out",
                evaluations.done().exists(),
                "Evaluate on the hold-out" if evaluation is None else "View evaluation",
                address("eval_new", "?split=holdout") if evaluation is None else evaluation.get_absolute_url(),
            ),
        ]
    )
