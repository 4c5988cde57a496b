"""The models that can be evaluated, as a form lists them."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from evaluation.endpoints import permits
from evaluation.models import ClassicalModel, Endpoint, OptimizedPrompt
from evaluation.runs.services import Model
from labeling.models import DatasetVersion, Project
from slmstudio.runs.models import Status
from training.models import BaseModel, ModelExport, ModelVersion, TrainingRun

TRAINED, TRAINED_GGUF = "Fine-tuned here", "Fine-tuned here, on llama.cpp"
EXTERNAL = "External (documents are sent to the endpoint)"


@dataclass(frozen=True)
class ModelChoice:
    """A model with its key in forms and URLs (``Backend.choice_key``)."""

    key: str
    label: str
    model: Model


def model_choices(project: Project, *, keep: str = "") -> dict[str, list[ModelChoice]]:
    """Group -> its models, newest first. Models of archived runs are left out, except the one with the key ``keep``."""
    choices = _all_choices(project)
    hidden = set(TrainingRun.objects.filter(project=project, archived_at__isnull=False).values_list("pk", flat=True))
    for group in (TRAINED, TRAINED_GGUF):
        choices[group] = [
            choice for choice in choices[group] if choice.key == keep or _training_of(choice.model) not in hidden
        ]
    return choices


def _training_of(model: Model) -> int | None:
    version = model.model_version if isinstance(model, ModelExport) else model
    return version.training_run_id if isinstance(version, ModelVersion) else int(model.pk)


def trained_on(model: Model) -> DatasetVersion | None:
    """The dataset version that a model or its prompt was made with; None of a base model or an endpoint."""
    if isinstance(model, ModelExport):
        model = model.model_version
    if isinstance(model, ModelVersion):
        model = model.training_run
    return None if isinstance(model, BaseModel | Endpoint) else model.dataset


def _all_choices(project: Project) -> dict[str, list[ModelChoice]]:
    trainings: Any = TrainingRun.objects.filter(project=project).exclude(status__in=[Status.FAILED, Status.CANCELLED])
    exports: Any = ModelExport.objects.filter(model_version__project=project, status=Status.DONE)
    exports = exports.filter(model_version__weights_deleted_at=None)
    exports = exports.select_related("model_version__training_run").order_by("-model_version__number", "kind")
    classical = ClassicalModel.objects.filter(project=project).select_related("dataset").order_by("-number")
    endpoints = list(Endpoint.objects.in_use(project))
    permitted = permits.permitted_endpoints(project, endpoints)
    prompts = OptimizedPrompt.objects.usable(project)
    return {
        TRAINED: [
            choice
            for run in trainings.prefetch_related("model_versions").order_by("-number")
            for choice in _trained(run)
        ],
        TRAINED_GGUF: [
            ModelChoice(f"gguf-{export.model_version.number}-{export.kind}", str(export), export) for export in exports
        ],
        "Classical models": [
            ModelChoice(f"classical-{model.number}", _classical_label(model), model) for model in classical
        ],
        "Optimized prompts": [ModelChoice(f"prompt-{search.number}", str(search), search) for search in prompts],
        "Base models": [
            ModelChoice(f"base-{model.slug}", model.name, model)
            for model in BaseModel.objects.decoders().order_by("name")
            if model.is_prepared
        ],
        EXTERNAL: [
            ModelChoice(f"endpoint-{endpoint.pk}", _endpoint_label(endpoint, endpoint.pk in permitted), endpoint)
            for endpoint in endpoints
        ],
    }


def _trained(run: TrainingRun) -> list[ModelChoice]:
    """The weights that a run chose, which may still be in training, then the others that it kept."""
    chosen = run.model_version
    if chosen is None:
        return [ModelChoice(f"run-{run.number}", f"{run}, still training: the evaluation starts after it", run)]
    choices = []
    for version in sorted(run.model_versions.all(), key=lambda version: version.is_alternative):
        if version.weights_deleted_at is None:
            model: Model = version if version.is_alternative else run
            key = version.choice_key
            choices.append(ModelChoice(key, f"{version} ({version.origin})", model))
    return choices


def _classical_label(model: ClassicalModel) -> str:
    labels = model.facts.get("labels") or model.labels
    return f"{model} ({f'{labels:,} labels' if labels else 'training split'} of v{model.dataset.number})"


def _endpoint_label(endpoint: Endpoint, permitted: bool) -> str:
    host = urlsplit(endpoint.url).hostname or endpoint.url
    rule = "including hold-out documents" if permitted else "no hold-out documents"
    return f"{endpoint.name} ({host}; {rule})"
