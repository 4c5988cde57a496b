"""What people send to the evaluation pages, parsed and checked."""

from dataclasses import replace
from datetime import date
from typing import Any

from django import forms
from django.http import QueryDict

from evaluation.gates import METRICS, Gate, GateError, GatePolicy
from evaluation.models import Approval, EvalRun
from evaluation.policy import DEPLOYED, plain
from evaluation.services.approvals import Waiver
from labeling.models import DatasetVersion, Project, Split
from slmstudio.runs import Status
from training.models import BaseModel, TrainingRun


def _select() -> forms.Select:
    return forms.Select(attrs={"class": "form-select"})


def _lines(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"class": "form-control", "rows": rows})


class EvaluationForm(forms.Form):
    """A new evaluation: which model, on what, decoded how."""

    model = forms.ChoiceField(
        label="Model",
        widget=_select(),
        help_text="A base model is shown the schema and two solved examples, a tuned one the instruction alone.",
    )
    dataset = forms.ChoiceField(label="Dataset version", widget=_select())
    split = forms.ChoiceField(
        label="Split",
        choices=Split.choices,
        widget=_select(),
        help_text="Gates judge the hold-out. Choose between candidates on validation: looks at the hold-out count.",
    )
    mode = forms.ChoiceField(
        label="Decoding",
        choices=EvalRun.Mode.choices,
        widget=_select(),
        help_text="Held to the schema, nothing else can be written. Free shows what the model does by itself.",
    )

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        self.datasets = {str(row.number): row for row in DatasetVersion.objects.filter(project=project)}
        self.subjects: dict[str, BaseModel | TrainingRun] = {}
        ended_badly = [Status.FAILED, Status.CANCELLED]
        trainings: Any = TrainingRun.objects.filter(project=project).exclude(status__in=ended_badly)
        tuned = [(f"run-{run.number}", run) for run in trainings.select_related("model_version").order_by("-number")]
        bases = [(f"base-{model.slug}", model) for model in BaseModel.objects.order_by("name") if model.ready]
        self.subjects = {**dict(tuned), **dict(bases)}
        groups = [
            ("Fine-tuned here", [(key, _training_words(run)) for key, run in tuned]),
            ("Base models", [(key, model.name) for key, model in bases]),
        ]
        versions = sorted(self.datasets.values(), key=lambda row: -row.number)
        self.fields["model"].choices = [group for group in groups if group[1]]  # type: ignore[attr-defined]
        self.fields["dataset"].choices = [  # type: ignore[attr-defined]
            (str(row.number), _dataset_words(row)) for row in versions
        ]
        for name, words in (("model", "model"), ("dataset", "dataset version")):
            message = f"Choose a {words} from the list; this one is not in it."
            self.fields[name].error_messages = {"required": f"Choose a {words}.", "invalid_choice": message}

    @property
    def impossible(self) -> str:
        """Why nothing can be evaluated yet; "" where something can."""
        if not self.datasets:
            return "dataset"
        return "" if self.subjects else "model"

    def order(self) -> dict[str, Any]:
        """What ``start_evaluation`` takes."""
        subject = self.subjects[self.cleaned_data["model"]]
        return {
            "dataset": self.datasets[self.cleaned_data["dataset"]],
            "split": self.cleaned_data["split"],
            "mode": self.cleaned_data["mode"],
            "base_model": subject if isinstance(subject, BaseModel) else None,
            "training_run": subject if isinstance(subject, TrainingRun) else None,
        }


def _training_words(run: TrainingRun) -> str:
    version = getattr(run, "model_version", None)
    if version is not None:
        return f"{version} ({run})"
    return f"{run}, still training: the evaluation waits for it"


def _dataset_words(dataset: DatasetVersion) -> str:
    counts = dataset.counts.get("splits", {})
    parts = [f"{counts.get(split, 0)} {Split(split).label}" for split in (Split.HOLDOUT, Split.VALIDATION, Split.TRAIN)]
    return f"v{dataset.number} · {', '.join(parts)}"


class PolicyForm(forms.Form):
    """The thresholds of the gates, in the units people read: per cent, milliseconds. An empty one is no gate."""

    def __init__(self, data: QueryDict | None = None, *, policy: GatePolicy) -> None:
        super().__init__(data)
        self.policy = policy
        used = {gate.metric for gate in policy}
        self.gates = [*policy, *(_unset(metric) for metric in METRICS if metric not in used)]
        for gate in self.gates:
            initial = _shown(gate) if gate in list(policy) else None
            widget = forms.NumberInput(attrs={"class": "form-control num-input", "step": "any", "min": "0"})
            self.fields[gate.key] = forms.FloatField(
                label=_question(gate), required=False, initial=initial, widget=widget
            )

    def rows(self) -> list[dict[str, Any]]:
        """The gates with their field, unit and whether there is a gate now, for the page."""
        return [
            {"gate": gate, "field": self[gate.key], "unit": unit(gate.metric), "set": gate in list(self.policy)}
            for gate in self.gates
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        gates = []
        for gate in self.gates:
            value = cleaned.get(gate.key)
            if value is None:
                continue
            threshold = round(value / 100, 12) if METRICS[gate.metric].percent else value
            try:
                gates.append(replace(gate, threshold=threshold, title=""))
            except GateError:
                self.add_error(gate.key, _range(gate.metric))
        if not gates and not self.errors:
            raise forms.ValidationError("Keep at least one gate: a policy without any lets nothing ship.")
        cleaned["policy"] = GatePolicy(tuple(gates), self.policy.only_look)
        return cleaned


def _unset(metric: str) -> Gate:
    """A gate that is not there yet, for the empty field that would add it."""
    compared_with = DEPLOYED if METRICS[metric].paired else ""
    key = metric.replace("_", "-")
    return Gate(key, metric, METRICS[metric].operator, 0.0, compared_with=compared_with)


def _shown(gate: Gate) -> str:
    return plain(gate.threshold * 100 if METRICS[gate.metric].percent else gate.threshold).replace(",", "")


def _question(gate: Gate) -> str:
    """The title of a gate without its number: "At least … % of outputs are schema-valid"."""
    words = METRICS[gate.metric].title.format("…")
    return f"{words} ({gate.slice})" if gate.slice else words


def _range(metric: str) -> str:
    return "A number from 0 to 100." if METRICS[metric].percent else "A number of 0 or more."


def unit(metric: str) -> str:
    """The unit in which a metric's threshold is typed."""
    return {
        "no_regression": "points",
        "p95_latency_ms": "ms",
        "requests_per_second": "per second",
        "cost_per_request": "each",
        "peak_memory_gb": "GB",
    }.get(metric, "%")


class JudgeForm(forms.Form):
    """An evaluation on the hold-out to be judged, and the one it is held against."""

    eval_run = forms.ChoiceField(label="Evaluation", widget=_select())
    baseline = forms.ChoiceField(label="Held against", required=False, widget=_select())

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        runs = EvalRun.objects.filter(project=project).with_subject().on_holdout().done().order_by("-number")
        self.runs = {str(run.number): run for run in runs}
        choices = [(number, f"#{number} {run.subject}, {run.get_mode_display()}") for number, run in self.runs.items()]
        self.fields["eval_run"].choices = choices  # type: ignore[attr-defined]
        self.fields["baseline"].choices = [("", "nothing"), *choices]  # type: ignore[attr-defined]
        for name in ("eval_run", "baseline"):
            message = "Choose a finished evaluation on the hold-out from the list."
            self.fields[name].error_messages = {"required": message, "invalid_choice": message}

    def order(self) -> dict[str, Any]:
        """What ``make_report`` takes."""
        return {
            "eval_run": self.runs[self.cleaned_data["eval_run"]],
            "baseline": self.runs.get(self.cleaned_data["baseline"]),
        }


class DecisionForm(forms.Form):
    """A manager's decision on a report."""

    decision = forms.ChoiceField(choices=Approval.Decision.choices, error_messages={"required": "Choose one."})
    reason = forms.CharField(
        max_length=4000,
        widget=_lines(3),
        error_messages={"required": "Say why: the reason stands in the audit log."},
    )
    waiver_reason = forms.CharField(
        label="Why it may ship all the same", max_length=4000, required=False, widget=_lines(2)
    )
    waiver_expires = forms.DateField(
        label="Last day the waiver holds",
        required=False,
        widget=forms.DateInput(attrs={"class": "form-control", "type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "A date like 2026-12-31."},
    )

    def waiver(self) -> Waiver | None:
        """The waiver, where a reason and a day are given."""
        reason: str = self.cleaned_data.get("waiver_reason") or ""
        expires: date | None = self.cleaned_data.get("waiver_expires")
        return Waiver(reason, expires) if reason and expires else None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("decision") != Approval.Decision.APPROVED:
            return {**cleaned, "waiver_reason": "", "waiver_expires": None}
        if cleaned.get("waiver_reason") and not cleaned.get("waiver_expires") and "waiver_expires" not in self.errors:
            self.add_error("waiver_expires", "Until when does the waiver hold?")
        return cleaned
