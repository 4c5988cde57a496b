"""The form that starts an A/B test."""

from typing import Any

from django import forms

from evaluation.models import GateReport
from labeling.models import Project
from serving.deployments import queries
from serving.models import Experiment

_SELECT = {"class": "form-select"}


class ExperimentForm(forms.Form):
    """An approved version, the question, and the share."""

    report = forms.ChoiceField(label="Version B: approved report", widget=forms.Select(attrs=_SELECT))
    question = forms.ChoiceField(
        label="Question",
        choices=Experiment.Question.choices,
        help_text="Chosen before the first request; it cannot be changed later.",
        widget=forms.Select(attrs=_SELECT),
    )
    share = forms.IntegerField(
        label="Share of B (%)",
        min_value=1,
        max_value=99,
        initial=50,
        widget=forms.NumberInput(attrs={"class": "form-control"}),
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        self.reports: dict[str, GateReport] = {str(one.number): one for one in queries.approved_reports(project)}
        self.fields["report"].choices = [  # type: ignore[attr-defined]
            (number, f"Report {number}: {one.eval_run.model_label}") for number, one in self.reports.items()
        ]

    def values(self) -> dict[str, Any]:
        """What ``experiments.services.start`` takes."""
        return {
            "report": self.reports[self.cleaned_data["report"]],
            "question": self.cleaned_data["question"],
            "share": self.cleaned_data["share"] / 100,
        }
