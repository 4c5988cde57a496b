"""The form of a new benchmark, with its candidates."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django import forms

from evaluation.benchmarks.services import (
    DEFAULT_DOCUMENTS,
    MAX_CANDIDATES,
    MAX_DOCUMENTS,
    MIN_DOCUMENTS,
    AvailableDocuments,
    Candidate,
)
from evaluation.classical import services as classical
from evaluation.inference.classical_spec import extracted_fields
from evaluation.inference.model_columns import ClassicalKind
from evaluation.models import Endpoint, EvalRun, OptimizedPrompt
from evaluation.runs.services import decoding_modes
from evaluation.widgets import narrow_number_input
from labeling.models import Project
from slmstudio.text.formatting import format_bytes
from training.base_models.services import TINY, fill_catalog
from training.encoders.heads import plan_heads
from training.estimates.estimate import fit
from training.estimates.services import memory_limit, shape_of
from training.models import BaseModel, ModelVersion

NOT_TUNED = "not instruction-tuned"
NEWEST_VERSIONS = 10
PRESELECTED = 3


@dataclass(frozen=True)
class CandidateChoice:
    """A model that can be selected. ``facts`` follow its name; ``fits`` None: unknown; ``note``: a warning."""

    key: str
    name: str
    candidate: Candidate
    facts: tuple[str, ...]
    fits: bool | None = None
    note: str = ""


_CLASSICAL_FACTS = {
    ClassicalKind.TFIDF: "words and characters of the text",
    ClassicalKind.EMBEDDINGS: "vectors of all-MiniLM-L6-v2",
    ClassicalKind.RULES: "values that the schema allows, ranked by the words around them",
}
ENCODERS = "Encoders, trained for the benchmark"
NEEDS_DOWNLOAD = "Base models to download first"


def candidate_choices(project: Project) -> dict[str, list[CandidateChoice]]:
    """Every model that can be benchmarked, by group."""
    fill_catalog()
    limit = memory_limit(project)
    versions: Any = ModelVersion.objects.with_weights().filter(project=project, training_run__archived_at=None)
    versions = versions.select_related("training_run__dataset", "training_run__base_model")
    prompts = OptimizedPrompt.objects.usable(project)[:NEWEST_VERSIONS]
    bases = list(BaseModel.objects.usable().decoders().order_by("parameters", "name"))
    here = [model for model in bases if _is_local(model)]
    return {
        "Classical models": [_classical(kind, project) for kind in classical.kinds(project.schema_version)],
        ENCODERS: _encoders(project, limit),
        "Base models": [_base(model, limit) for model in here],
        NEEDS_DOWNLOAD: [_base(model, limit) for model in bases if model not in here],
        "Optimized prompts": [_prompt(search) for search in prompts],
        "Fine-tuned here": [_version(version) for version in versions.order_by("-number")[:NEWEST_VERSIONS]],
        "External": [_endpoint(endpoint) for endpoint in Endpoint.objects.in_use(project)],
    }


def _is_local(model: BaseModel) -> bool:
    """Whether it is prepared, or can be prepared without a download."""
    return model.is_prepared or model.source != BaseModel.Source.HUB


def _base(model: BaseModel, limit: int) -> CandidateChoice:
    memory = fit(shape_of(model), limit_bytes=limit)
    facts = [
        f"{model.parameters / 1e6:,.0f} M parameters" if model.parameters else "",
        format_bytes(model.size_bytes) if model.size_bytes else "",
        f"context {model.context:,}" if model.context else "",
        model.license_record.summary,
        "" if model.instruction_tuned else NOT_TUNED,
        f"to serve: {memory.sentence}" if memory.fits else "",
    ]
    note = memory.sentence if memory.fits is False else ""
    if not _is_local(model):
        note = f"{note} Not downloaded. Download it on the Base models page first.".strip()
    elif not model.is_prepared:
        note = f"{note} Not prepared yet. Preparing it takes about a minute.".strip()
    return CandidateChoice(model.slug, model.name, model, tuple(filter(None, facts)), memory.fits, note)


def _encoders(project: Project, limit: int) -> list[CandidateChoice]:
    """The prepared encoders; none where they would have no head."""
    plan = plan_heads(project.schema_version.compiled)
    if not plan.heads:
        return []
    left = [item.pattern for item in plan.unanswered]
    models = BaseModel.objects.filter(family=BaseModel.Family.ENCODER).prepared().by_size()
    choices = [_base(model, limit) for model in models]
    own = ["trained on the training split, which is not in the benchmark then"]
    own += [f"does not answer {', '.join(left)}"] if left else []
    return [replace(choice, facts=(*(fact for fact in choice.facts if fact != NOT_TUNED), *own)) for choice in choices]


def _classical(kind: ClassicalKind, project: Project) -> CandidateChoice:
    facts = [_CLASSICAL_FACTS[kind], "trained on the training split"]
    if kind != ClassicalKind.RULES and extracted_fields(project.schema_version.compiled):
        facts.insert(1, "extraction rules for the other fields")
    problem = classical.obstacle(kind)
    return CandidateChoice(f"classical-{kind}", str(kind.label), kind, tuple(facts), None, problem)


def _prompt(prompt: OptimizedPrompt) -> CandidateChoice:
    facts = (
        f"{len(prompt.examples)} few-shot examples",
        f"chosen on {len(prompt.documents)} validation documents, which are excluded",
    )
    note = "Document text is sent to its URL." if prompt.endpoint is not None else ""
    return CandidateChoice(f"prompt-{prompt.number}", str(prompt), prompt, facts, None, note)


def _version(version: ModelVersion) -> CandidateChoice:
    run = version.training_run
    facts = (
        str(run.base_model),
        f"{version.origin}, trained on dataset v{run.dataset.number}",
        "its training documents are excluded",
    )
    return CandidateChoice(f"version-{version.number}", str(version), version, facts)


def _endpoint(endpoint: Endpoint) -> CandidateChoice:
    priced = endpoint.price_in is not None and endpoint.price_out is not None
    facts = (endpoint.model, endpoint.url, "" if priced else "no price per token")
    note = "Document text is sent to this URL."
    return CandidateChoice(f"endpoint-{endpoint.pk}", endpoint.name, endpoint, tuple(filter(None, facts)), None, note)


class BenchmarkForm(forms.Form):
    """A new benchmark: models, number of documents, decoding modes."""

    models = forms.MultipleChoiceField(
        label="Models",
        error_messages={"required": "Select at least one model.", "invalid_choice": "Select models from the list."},
    )
    documents = forms.IntegerField(
        label="Documents",
        min_value=MIN_DOCUMENTS,
        max_value=MAX_DOCUMENTS,
        widget=narrow_number_input(),
        help_text=f"{MIN_DOCUMENTS} to {MAX_DOCUMENTS}, the same for every model. More documents give clearer results.",
    )
    modes = forms.MultipleChoiceField(
        label="Decoding modes",
        choices=EvalRun.Mode.choices,
        error_messages={"required": "Select at least one decoding mode."},
    )

    def __init__(
        self, data: Any = None, *, project: Project, stock: AvailableDocuments, wanted: Iterable[str] = ()
    ) -> None:
        self.groups = {name: choices for name, choices in candidate_choices(project).items() if choices}
        self.by_key = {choice.key: choice for group in self.groups.values() for choice in group}
        # A trained model needs documents that it was not trained on.
        trained = self._default_trained(stock) if stock.validation >= MIN_DOCUMENTS else []
        selected = [key for key in wanted if key in self.by_key] or [*self._default_models(), *trained]
        available = stock.validation if set(trained) & set(selected) else stock.count
        ways = decoding_modes(project.schema_version)
        usual = {
            "models": selected,
            "documents": max(MIN_DOCUMENTS, min(DEFAULT_DOCUMENTS, available)),
            "modes": [mode for mode, _ in ways if mode != EvalRun.Mode.GROUNDED],
        }
        super().__init__(data, initial=usual)
        modes: Any = self.fields["modes"]
        modes.choices = ways
        models: Any = self.fields["models"]
        models.choices = [(key, choice.name) for key, choice in self.by_key.items()]

    def _default_models(self) -> list[str]:
        """Classical models, and local base models that are not known to be too large, the smallest first."""
        simple = [
            choice.key
            for choice in self.by_key.values()
            if isinstance(choice.candidate, ClassicalKind) and not classical.obstacle(choice.candidate)
        ]
        bases = [
            choice
            for choice in self.by_key.values()
            if isinstance(choice.candidate, BaseModel)
            and not choice.candidate.is_encoder
            and _is_local(choice.candidate)
        ]
        return [
            *simple,
            *[choice.key for choice in bases if choice.fits is not False and choice.key != TINY][:PRESELECTED],
        ]

    def _default_trained(self, stock: AvailableDocuments) -> list[str]:
        """The newest encoder and the newest decoder that were trained on the dataset version; without such an encoder
        the smallest one to train.
        """
        newest: dict[bool, str] = {}
        for choice in self.by_key.values():
            version = choice.candidate
            if isinstance(version, ModelVersion) and version.training_run.dataset == stock.dataset:
                newest.setdefault(version.training_run.base_model.is_encoder, choice.key)
        untrained = [choice.key for choice in self.groups.get(ENCODERS, [])]
        return [*newest.values(), *(untrained[:1] if True not in newest else [])]

    @property
    def selected(self) -> list[str]:
        """Keys of the selected models."""
        return [str(value) for value in self["models"].value() or []]

    @property
    def download_selected(self) -> bool:
        """Whether a model that must be downloaded is selected; its group is open then."""
        return any(choice.key in self.selected for choice in self.groups.get(NEEDS_DOWNLOAD, []))

    @property
    def selected_modes(self) -> list[str]:
        """The selected modes."""
        return [str(value) for value in self["modes"].value() or []]

    @property
    def max_models(self) -> int:
        """How many models can be selected."""
        return MAX_CANDIDATES

    def service_arguments(self) -> dict[str, Any]:
        """The arguments of ``start_benchmark``."""
        wanted = self.cleaned_data
        return {
            "candidates": [self.by_key[key].candidate for key in wanted["models"]],
            "modes": wanted["modes"],
            "documents": wanted["documents"],
        }
