"""What the page of A/B tests shows."""

import math
from dataclasses import dataclass

from labeling.models import Project
from serving.experiments.verdicts import ALPHA, Arms
from serving.models import Experiment
from slmstudio.text.formatting import e_value

MAX_SHOWN = 20
_EVENTS = {
    Experiment.Question.FAILURES: "documents failed",
    Experiment.Question.LATENCY: "slower than the limit",
    Experiment.Question.ACCURACY: "judged wrong",
}


@dataclass(frozen=True)
class ExperimentStatus:
    """A test with its counts and evidence."""

    experiment: Experiment
    arms: Arms
    e_a: str
    e_b: str
    needed: str

    @property
    def events(self) -> str:
        """What is counted."""
        return _EVENTS[Experiment.Question(self.experiment.question)]

    @property
    def badge(self) -> tuple[str, str]:
        """State and label."""
        if self.experiment.verdict:
            return "done", str(self.experiment.get_verdict_display())
        return ("queued" if self.experiment.ended_at else "running"), str(self.experiment.get_verdict_display())


def experiments(project: Project) -> list[ExperimentStatus]:
    """The newest tests of a project."""
    rows = Experiment.objects.filter(deployment__project=project).select_related(
        "deployment", "a__package__eval_run", "a__endpoint", "b__package__eval_run", "b__endpoint", "created_by"
    )
    return [_status(one) for one in rows.order_by("-pk")[:MAX_SHOWN]]


def running(project: Project) -> Experiment | None:
    """The test that runs."""
    found: Experiment | None = (
        Experiment.objects.running().filter(deployment__project=project).select_related("deployment__project").first()
    )
    return found


def _status(one: Experiment) -> ExperimentStatus:
    found = {side: e_value(one.log_e.get(side, 0.0)) for side in ("a", "b")}
    return ExperimentStatus(one, Arms(**one.counts), found["a"], found["b"], e_value(-math.log(ALPHA / 2)))
