"""The forms of the page of a deployment."""

from typing import Any

from django import forms

from evaluation.models import Endpoint, GateReport
from labeling.models import Project
from serving.deployments import queries
from serving.models import Capture, Stage
from slmstudio.web.forms import BootstrapForm
from training.models import TrainingRun


class DeployForm(BootstrapForm):
    """An approved report, or for shadow an evaluation; the engine and the stage."""

    report = forms.ChoiceField(label="Model")
    engine = forms.ChoiceField(
        label="Engine",
        required=False,
        help_text="A different engine is compared with the evaluation first.",
    )
    stage = forms.ChoiceField(
        label="Stage",
        choices=[
            (Stage.SHADOW, "Shadow: repeats requests; clients do not see its answers"),
            (Stage.CANARY, "Canary: answers a share of the requests"),
            (Stage.FULL, "Full: answers all requests"),
        ],
    )
    share = forms.IntegerField(
        label="Share of requests (%)",
        required=False,
        min_value=1,
        max_value=99,
        initial=5,
    )

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        reports = queries.approved_reports(project)
        self.reports: dict[str, GateReport] = {str(report.number): report for report in reports}
        self.runs = {f"evaluation-{run.number}": run for run in queries.shadow_runs(project, reports)}
        runs = [*(report.eval_run for report in reports), *self.runs.values()]
        self.fields["engine"].choices = [("", "As evaluated"), *queries.engine_choices(runs)]  # type: ignore[attr-defined]
        groups = {
            "Approved": [(key, f"Report {key}: {report.eval_run.model_label}") for key, report in self.reports.items()],
            "Not approved (shadow only)": [
                (key, f"Evaluation {run.number}: {run.model_label}, {run.get_split_display().lower()}")
                for key, run in self.runs.items()
            ],
        }
        self.fields["report"].choices = [(title, rows) for title, rows in groups.items() if rows]  # type: ignore[attr-defined]
        message = "Select an approved report, or an evaluation for shadow."
        self.fields["report"].error_messages = {"required": message, "invalid_choice": message}

    def clean(self) -> dict[str, Any]:
        """Only a canary has a share; the field is hidden for the other stages."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("stage") != Stage.CANARY:
            self.errors.pop("share", None)
            values["share"] = None
        return values

    @property
    def export_from(self) -> TrainingRun | None:
        """The training run whose model has no GGUF file, where that is why it was rejected."""
        key = self.cleaned_data.get("report", "") if self.has_error("engine", "no_gguf") else ""
        run = self.reports[key].eval_run if key in self.reports else self.runs.get(key)
        return run.model_version.training_run if run is not None and run.model_version is not None else None

    def options(self) -> dict[str, Any]:
        """What ``deployments.services.deploy`` takes."""
        share = self.cleaned_data["share"]
        return {
            "report": self.reports.get(self.cleaned_data["report"]),
            "run": self.runs.get(self.cleaned_data["report"]),
            "engine": self.cleaned_data["engine"],
            "stage": self.cleaned_data["stage"],
            "share": share / 100 if share else None,
        }


class EndpointForm(BootstrapForm):
    """The external model that is used today, as the first stable version."""

    endpoint = forms.ModelChoiceField(
        queryset=Endpoint.objects.none(),
        label="External model",
        empty_label=None,
    )
    capture = forms.ChoiceField(
        label="Existing requests",
        required=False,
        choices=[
            (Capture.TOKEN, "Forward unchanged: clients send a token for this project"),
            (Capture.OWN_KEY, "Forward unchanged: clients keep their current key after its registration"),
            ("", "Do not forward: every document is sent with the contract's instruction and schema"),
        ],
        initial=Capture.TOKEN,
        help_text="Clients only change their base URL. Requests and answers are logged.",
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        endpoints = Endpoint.objects.in_use(project)
        self.fields["endpoint"].queryset = endpoints  # type: ignore[attr-defined]
        self.has_choices = endpoints.exists()


class ReasonForm(BootstrapForm):
    """Why a candidate is taken out, or a version rolled back."""

    reason = forms.CharField(label="Reason", max_length=1_000, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class TryForm(BootstrapForm):
    """A document to send to the gateway: a text, or a file."""

    text = forms.CharField(
        label="Document",
        max_length=200_000,
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 12}),
    )
    file = forms.FileField(
        label="Or a file",
        required=False,
        help_text="PDF, PNG, JPEG, TIFF or text. Scans are read by OCR.",
        widget=forms.FileInput(attrs={"accept": ".pdf,.png,.jpg,.jpeg,.tif,.tiff,.txt,.md"}),
    )
    layout = forms.BooleanField(
        label="Keep the page layout",
        required=False,
        help_text="For models trained on texts imported with their layout.",
    )

    def clean(self) -> dict[str, Any]:
        """One of both; a file wins, as the text is filled in with an example."""
        values: dict[str, Any] = super().clean() or {}
        if not values.get("file") and not str(values.get("text") or "").strip() and not self.errors:
            self.add_error("text", "Enter text or choose a file.")
        return values
