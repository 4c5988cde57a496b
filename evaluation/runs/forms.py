"""What people send to the evaluation pages, parsed and checked."""

from typing import Any
from urllib.parse import urlsplit

from django import forms

from evaluation.gates.holdout import permits
from evaluation.models import Endpoint, EvalRun
from evaluation.runs import costs, services
from evaluation.runs.spec import MOST_AT_ONCE
from labeling.models import Contract, DatasetVersion, Project, Split
from slmstudio.runs.models import Status
from training.models import BaseModel, ModelExport, TrainingRun


def _select() -> forms.Select:
    return forms.Select(attrs={"class": "form-select"})


def _lines(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"class": "form-control", "rows": rows})


#: a base model, what a training run made, that as a GGUF file, or a model elsewhere
Subject = BaseModel | TrainingRun | ModelExport | Endpoint


class EvaluationForm(forms.Form):
    """A new evaluation: which model, on what, decoded how."""

    model = forms.ChoiceField(
        label="Model",
        widget=_select(),
        help_text="A base model and one elsewhere are shown the schema and two solved examples, a tuned one the "
        "instruction alone.",
    )
    dataset = forms.ChoiceField(label="Dataset version", widget=_select())
    split = forms.ChoiceField(
        label="Split",
        choices=Split.choices,
        widget=_select(),
        help_text="Gates judge the hold-out. Choose between candidates on validation: looks at the hold-out count.",
    )
    mode = forms.ChoiceField(label="Decoding", widget=_select())
    at_once = forms.IntegerField(
        label="Documents at once",
        min_value=1,
        max_value=MOST_AT_ONCE,
        initial=1,
        required=False,
        widget=forms.NumberInput(attrs={"class": "form-control"}),
    )

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        self.datasets = {str(row.number): row for row in DatasetVersion.objects.filter(project=project)}
        groups = _subjects(project)
        self.subjects = {key: subject for found in groups.values() for key, _, subject in found}
        #: whether some of the models are elsewhere, and documents are sent there
        self.elsewhere = bool(groups[ELSEWHERE])
        versions = sorted(self.datasets.values(), key=lambda row: -row.number)
        choices: dict[str, Any] = {
            "model": [(group, [(key, words) for key, words, _ in found]) for group, found in groups.items() if found],
            "dataset": [(str(row.number), _dataset_words(row)) for row in versions],
            "mode": services.modes_of(project.schema_version),
        }
        for name, offered in choices.items():
            self.fields[name].choices = offered  # type: ignore[attr-defined]
        for name, words in (("model", "model"), ("dataset", "dataset version")):
            message = f"Choose a {words} from the list; this one is not in it."
            self.fields[name].error_messages = {"required": f"Choose a {words}.", "invalid_choice": message}
        self.fields["mode"].help_text = _mode_words(len(choices["mode"]))
        self.fields["at_once"].help_text = _at_once_words(project)

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
            "at_once": self.cleaned_data["at_once"] or 1,
            "base_model": subject if isinstance(subject, BaseModel) else None,
            "training_run": subject if isinstance(subject, TrainingRun) else None,
            "export": subject if isinstance(subject, ModelExport) else None,
            "endpoint": subject if isinstance(subject, Endpoint) else None,
        }


ELSEWHERE = "Elsewhere: the documents are sent there"


def _subjects(project: Project) -> dict[str, list[tuple[str, str, Subject]]]:
    """Everything that can be evaluated, by kind: its key, its words, itself."""
    ended_badly = [Status.FAILED, Status.CANCELLED]
    trainings: Any = TrainingRun.objects.filter(project=project).exclude(status__in=ended_badly)
    exports: Any = ModelExport.objects.filter(model_version__project=project, status=Status.DONE)
    exports = exports.select_related("model_version__training_run").order_by("-model_version__number", "kind")
    endpoints = list(Endpoint.objects.in_use(project))
    permitted = permits.given(project, endpoints)
    return {
        "Fine-tuned here": [
            (f"run-{run.number}", _training_words(run), run)
            for run in trainings.select_related("model_version").order_by("-number")
        ],
        "Fine-tuned here, on llama.cpp": [
            (f"gguf-{one.model_version.number}-{one.kind}", str(one), one) for one in exports
        ],
        "Base models": [(f"base-{one.slug}", one.name, one) for one in BaseModel.objects.order_by("name") if one.ready],
        ELSEWHERE: [(f"endpoint-{one.pk}", _endpoint_words(one, one.pk in permitted), one) for one in endpoints],
    }


def key_of(run: EvalRun) -> str:
    """The key of an evaluation's model in the form."""
    if run.base_model is not None:
        return f"base-{run.base_model.slug}"
    if run.endpoint_id is not None:
        return f"endpoint-{run.endpoint_id}"
    if run.export is not None and run.model_version is not None:
        return f"gguf-{run.model_version.number}-{run.export.kind}"
    return f"run-{run.training_run.number}" if run.training_run is not None else ""


def _training_words(run: TrainingRun) -> str:
    version = getattr(run, "model_version", None)
    if version is not None:
        return f"{version} ({run})"
    return f"{run}, still training: the evaluation waits for it"


def _endpoint_words(endpoint: Endpoint, permitted: bool) -> str:
    host = urlsplit(endpoint.url).hostname or endpoint.url
    rule = "hold-out documents, too" if permitted else "no hold-out documents"
    return f"{endpoint.name} ({host}; {rule})"


def _dataset_words(dataset: DatasetVersion) -> str:
    counts = dataset.counts.get("splits", {})
    parts = [f"{counts.get(split, 0)} {Split(split).label}" for split in (Split.HOLDOUT, Split.VALIDATION, Split.TRAIN)]
    return f"v{dataset.number} · {', '.join(parts)}"


def _mode_words(ways: int) -> str:
    said = "Held to the schema, nothing else can be written. Free shows what the model does by itself."
    if ways == len(EvalRun.Mode.values):
        said += " Held to the document, too, a copied field can say only what stands there."
    return said


def _at_once_words(project: Project) -> str:
    """What to choose, and what the contract's rate comes to."""
    said = "1 measures latency; several measure throughput, and latency under that load."
    contract = Contract.objects.filter(project=project).only("constraints").first()
    needed = costs.needed_at_once(contract.constraints, MOST_AT_ONCE) if contract is not None else None
    if needed is not None:
        said += f" At the contract's rate and latency, {needed} {'is' if needed == 1 else 'are'} under way at once."
    return said


class JudgeForm(forms.Form):
    """An evaluation on the hold-out to be judged, and the one it is held against."""

    eval_run = forms.ChoiceField(label="Evaluation", widget=_select())
    baseline = forms.ChoiceField(label="Held against", required=False, widget=_select())

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        runs = EvalRun.objects.filter(project=project).with_subject().on_holdout().done().order_by("-number")
        runs = runs.select_related("rescored_from").defer(
            "spec", "scores", "rescored_from__spec", "rescored_from__scores"
        )
        self.runs = {str(run.number): run for run in runs}
        choices = [(number, _as_choice(run)) for number, run in self.runs.items()]
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


def _as_choice(run: EvalRun) -> str:
    """An evaluation in a list: of which model, decoded how, on which version, and whose outputs it scores again."""
    again = f", scored again from #{run.rescored_from.number}" if run.rescored_from is not None else ""
    return f"#{run.number} {run.subject}, {run.get_mode_display()}, on v{run.dataset.number}{again}"
