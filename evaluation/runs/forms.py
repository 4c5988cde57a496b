"""Forms of the evaluation pages."""

from typing import Any

from django import forms

from evaluation.inference.prices import required_concurrency
from evaluation.inference.spec import MAX_CONCURRENCY
from evaluation.models import EvalRun
from evaluation.runs import services
from evaluation.runs.model_choices import EXTERNAL, model_choices, trained_on
from evaluation.runs.services import Model
from labeling.datasets.queries import FEW, dataset_warnings
from labeling.models import Contract, DatasetVersion, Project, Split
from slmstudio.web.forms import BootstrapForm

MODE_HELP: dict[str, str] = {
    EvalRun.Mode.CONSTRAINED: "Constrained decoding only produces JSON that is valid under the schema.",
    EvalRun.Mode.GROUNDED: "Grounded decoding also restricts copied fields to text from the document.",
    EvalRun.Mode.FREE: "Unconstrained decoding shows what the model does on its own.",
}


class EvaluationForm(BootstrapForm):
    """A new evaluation: model, documents, decoding mode and concurrency."""

    model = forms.ChoiceField(
        label="Model",
        help_text="Base and external models get the schema and two few-shot examples; a fine-tuned model gets the "
        "instruction only, and an encoder only the document.",
    )
    dataset = forms.ChoiceField(label="Dataset version")
    split = forms.ChoiceField(
        label="Split",
        choices=Split.choices,
        help_text="Compare candidates and look for errors on validation. The hold-out is for gates on one model.",
    )
    mode = forms.ChoiceField(label="Decoding mode")
    concurrency = forms.IntegerField(
        label="Concurrency",
        min_value=1,
        max_value=MAX_CONCURRENCY,
        initial=1,
        required=False,
    )

    #: the price of a hold-out evaluation that was confirmed
    confirmed = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        self.datasets = {str(row.number): row for row in DatasetVersion.objects.filter(project=project).with_schema()}
        groups = model_choices(project, keep=str((data or initial or {}).get("model", "")))
        self.models = {choice.key: choice.model for group in groups.values() for choice in group}
        if named := self.models.get(str(self.initial.get("model", ""))):
            suited = (row for row in self.datasets.values() if not _schema_conflict(named, row))
            if newest := max(suited, key=lambda row: row.number, default=None):
                self.initial.setdefault("dataset", str(newest.number))
        #: whether documents are sent to a server for some of the models
        self.has_external = bool(groups[EXTERNAL])
        versions = sorted(self.datasets.values(), key=lambda row: -row.number)
        choices: dict[str, Any] = {
            "model": [
                (group, [(choice.key, choice.label) for choice in models]) for group, models in groups.items() if models
            ],
            "dataset": [(str(row.number), _dataset_label(row)) for row in versions],
        }
        for name, offered in choices.items():
            self.fields[name].choices = offered  # type: ignore[attr-defined]
        for name, label in (("model", "model"), ("dataset", "dataset version")):
            message = f"Choose a {label} from the list."
            self.fields[name].error_messages = {"required": message, "invalid_choice": message}
        modes = services.decoding_modes(project.schema_version, self._selected("model", self.models))
        self.fields["mode"].choices = modes  # type: ignore[attr-defined]
        self.fields["mode"].help_text = " ".join(MODE_HELP[mode] for mode, _ in modes)
        if not modes:
            del self.fields["mode"]
        self.fields["concurrency"].help_text = _concurrency_help(project)

    @property
    def missing(self) -> str:
        """What an evaluation needs and the project lacks: "dataset" or "model"; "" for nothing."""
        if not self.datasets:
            return "dataset"
        return "" if self.models else "model"

    @property
    def price(self) -> services.EvaluationPrice | None:
        """The price of the evaluation that is selected; None outside the hold-out."""
        values = self.data if self.is_bound else self.initial
        dataset, model = self._selected("dataset", self.datasets), self._selected("model", self.models)
        if values.get("split") != Split.HOLDOUT or dataset is None or model is None:
            return None
        return next(iter(services.holdout_price.call(dataset, model)), None)

    @property
    def dataset_warnings(self) -> list[str]:
        """What to know about the model, the dataset and the split that are selected."""
        dataset, model = self._selected("dataset", self.datasets), self._selected("model", self.models)
        split = str((self.data if self.is_bound else self.initial).get("split", ""))
        if dataset is None or split not in Split.values:
            return []
        conflict = _schema_conflict(model, dataset) if model is not None else ""
        return [*filter(None, [conflict]), *dataset_warnings(dataset, {Split(split): FEW})]

    def _selected(self, name: str, rows: dict[str, Any]) -> Any:
        """What is selected in a list: without an initial value its first choice, as in a browser."""
        values = self.data if self.is_bound else self.initial
        if self.is_bound or values.get(name):
            return rows.get(str(values.get(name, "")))
        offered = self.fields[name].choices  # type: ignore[attr-defined]
        first = next(iter(offered), ("", ""))
        return rows.get(first[1][0][0] if isinstance(first[1], list | tuple) else first[0])

    def clean(self) -> dict[str, Any]:
        """Rejects a hold-out evaluation whose price was not confirmed."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        price = self.price if not self.errors else None
        if price is not None and cleaned.get("confirmed") != price.token:
            self.add_error("confirmed", "Confirm the hold-out evaluation, or choose another split.")
        return cleaned

    def service_arguments(self) -> dict[str, Any]:
        """The arguments of ``start_evaluation``."""
        return {
            "dataset": self.datasets[self.cleaned_data["dataset"]],
            "model": self.models[self.cleaned_data["model"]],
            "split": self.cleaned_data["split"],
            "mode": self.cleaned_data.get("mode", EvalRun.Mode.CONSTRAINED),
            "concurrency": self.cleaned_data["concurrency"] or 1,
            "confirm_holdout": True,  # this form is valid only with the confirmation
        }


def _schema_conflict(model: Model, dataset: DatasetVersion) -> str:
    """A sentence where a model was trained on another schema than that of a dataset version; "" otherwise."""
    trained = trained_on(model)
    if trained is None or trained.schema_version.sha256 == dataset.schema_version.sha256:
        return ""
    return (
        f"The model was trained on schema {trained.schema_version} ({trained}), but {dataset} uses schema "
        f"{dataset.schema_version}. Select a version with the schema of the model, or train on this one."
    )


def _dataset_label(dataset: DatasetVersion) -> str:
    counts = dataset.counts.get("splits", {})
    parts = [
        f"{counts.get(split, 0)} {Split(split).label.lower()}"
        for split in (Split.HOLDOUT, Split.VALIDATION, Split.TRAIN)
    ]
    return f"v{dataset.number} · schema {dataset.schema_version} · {', '.join(parts)}"


def _concurrency_help(project: Project) -> str:
    """What to choose, and what the contract requires."""
    text = "Use 1 to measure latency, more to measure throughput and latency under load."
    contract = Contract.objects.filter(project=project).only("constraints").first()
    required = required_concurrency(contract.constraints, MAX_CONCURRENCY) if contract is not None else None
    if required is not None:
        text += f" The contract's request rate and latency correspond to a concurrency of {required}."
    return text
