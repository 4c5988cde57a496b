"""The forms that start a comparison, one for each kind."""

from typing import Any

from django import forms

from evaluation.models import GateReport
from labeling.models import Document, Project
from serving.comparisons.labels import MAX_DOCUMENTS, Measure, Method
from serving.comparisons.replay import MAX_REQUESTS
from serving.comparisons.split import Question
from serving.deployments.queries import approved_reports
from slmstudio.web.forms import BootstrapForm


class SplitForm(BootstrapForm):
    """An approved version, the question, and the share."""

    report = forms.ChoiceField(label="Version B: approved report")
    question = forms.ChoiceField(
        label="Question",
        choices=Question.choices,
        help_text="Chosen before the first request; it cannot be changed later.",
    )
    share = forms.IntegerField(label="Share of B (%)", min_value=1, max_value=99, initial=50)

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        self.reports: dict[str, GateReport] = {str(report.number): report for report in approved_reports(project)}
        self.fields["report"].choices = [  # type: ignore[attr-defined]
            (number, f"Report {number}: {report.eval_run.model_label}") for number, report in self.reports.items()
        ]

    def values(self) -> dict[str, Any]:
        """What ``services.start_split`` takes."""
        return {
            "report": self.reports[self.cleaned_data["report"]],
            "question": self.cleaned_data["question"],
            "share": self.cleaned_data["share"] / 100,
        }


class LabelsForm(BootstrapForm):
    """What is to be shown, decided before documents are labeled."""

    margin = forms.FloatField(
        label="Margin (points)",
        min_value=0.1,
        max_value=50,
        initial=3,
        help_text="The acceptable loss of accuracy. For example, 3 means at most 3 documents in 100.",
    )
    measure = forms.ChoiceField(label="Measure", choices=Measure.choices)
    method = forms.ChoiceField(
        label="Verdict",
        choices=Method.choices,
        help_text="A verdict at any time needs more documents, but stays valid no matter how often you read it.",
    )
    family = forms.ChoiceField(
        label="Families",
        required=False,
        help_text="Documents of one family are not independent, so families are counted instead of documents.",
    )
    documents = forms.IntegerField(
        label="Documents to label",
        required=False,
        min_value=1,
        max_value=MAX_DOCUMENTS,
        help_text="Leave empty to use the calculated number.",
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        rows: Any = Document.objects.filter(project=project).order_by("-pk").values_list("metadata", flat=True)[:200]
        keys = sorted({str(key) for metadata in rows for key in metadata if key != "request_id"})
        self.fields["family"].choices = [  # type: ignore[attr-defined]
            ("", "None: every document counts"),
            ("caller", "Client"),
            *((f"metadata.{key}"[:100], key) for key in keys),
        ]

    def values(self) -> dict[str, Any]:
        """What ``services.start_labels`` takes."""
        return {**self.cleaned_data, "margin": self.cleaned_data["margin"] / 100}


class ReplayForm(BootstrapForm):
    """How many logged requests."""

    limit = forms.IntegerField(
        label="Requests",
        min_value=1,
        max_value=MAX_REQUESTS,
        initial=1_000,
        help_text="The newest stored requests, each document once.",
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)

    def values(self) -> dict[str, Any]:
        """What ``services.start_replay`` takes."""
        return dict(self.cleaned_data)
