"""The form that creates a gate report."""

from typing import Any, TypedDict

from django import forms

from evaluation.gates.baselines import default_baseline
from evaluation.models import EvalRun
from labeling.models import Project
from slmstudio.web.forms import BootstrapForm


class ReportOptions(TypedDict):
    """What ``gates.services.create_report`` takes."""

    eval_run: EvalRun
    baseline: EvalRun | None


class GateReportForm(BootstrapForm):
    """A hold-out evaluation and its baseline."""

    eval_run = forms.ChoiceField(label="Evaluation")
    baseline = forms.ChoiceField(label="Baseline", required=False)

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        runs = EvalRun.objects.filter(project=project).with_model().on_holdout().done().order_by("-number")
        runs = runs.select_related("rescored_from").defer(
            "spec", "scores", "rescored_from__spec", "rescored_from__scores"
        )
        self.runs: dict[str, EvalRun] = {str(run.number): run for run in runs}
        choices = [(number, _label(run)) for number, run in self.runs.items()]
        self.fields["eval_run"].choices = choices  # type: ignore[attr-defined]
        self.fields["baseline"].choices = lambda: [  # type: ignore[attr-defined]
            ("", "None"), *(choice for choice in choices if choice[0] != str(self["eval_run"].value()))
        ]  # fmt: skip
        for name in ("eval_run", "baseline"):
            message = "Select a finished hold-out evaluation."
            self.fields[name].error_messages = {"required": message, "invalid_choice": message}

    def options(self) -> ReportOptions:
        """The selected evaluations."""
        return {
            "eval_run": self.runs[self.cleaned_data["eval_run"]],
            "baseline": self.runs.get(self.cleaned_data["baseline"]),
        }

    def select_defaults(self) -> None:
        """Selects the newest evaluation of a model that is no base model, and its baseline, where none is named."""
        run = self.initial_run("eval_run")
        if run is None and "eval_run" not in self.initial:
            run = next((candidate for candidate in self.runs.values() if not candidate.backend.is_base_model), None)
            run = run or next(iter(self.runs.values()), None)
        if run is None:
            return
        self.initial["eval_run"] = str(run.number)
        if "baseline" not in self.initial and (baseline := default_baseline(run)) is not None:
            self.initial["baseline"] = str(baseline.number)

    def initial_run(self, name: str) -> EvalRun | None:
        """The evaluation that is selected when the page opens."""
        return self.runs.get(str(self.initial.get(name, "")))


def _label(run: EvalRun) -> str:
    """An evaluation in a list: model, decoding mode or kind, dataset version, and the source of a re-scoring."""
    source = f", re-scored from #{run.rescored_from.number}" if run.rescored_from is not None else ""
    return f"#{run.number} {run.model_label}, {run.mode_label.lower()}, on v{run.dataset.number}{source}"
