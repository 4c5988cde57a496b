"""What people send to start a benchmark, parsed and checked; and what a candidate shows of itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django import forms

from evaluation.benchmarks.services import LEAST, MOST, MOST_CANDIDATES, USUAL, Stock, Subject
from evaluation.models import Endpoint, EvalRun
from evaluation.runs.services import modes_of
from labeling.models import Project
from slmstudio.storage.sizes import format_bytes
from training.base_models.services import TINY
from training.estimates.estimate import fit
from training.estimates.services import memory_limit, shape_of
from training.models import BaseModel, ModelVersion

NEWEST_VERSIONS = 10
TICKED = 3


@dataclass(frozen=True)
class Choice:
    """A model that can be ticked. ``facts`` are said behind its name; ``fits`` None: not known; ``note``: a warning."""

    key: str
    name: str
    subject: Subject
    facts: tuple[str, ...]
    fits: bool | None = None
    note: str = ""


FETCHED = "Base models that are fetched first"


def choices(project: Project) -> dict[str, list[Choice]]:
    """Every model that could stand in a benchmark, by kind."""
    limit = memory_limit(project)
    versions: Any = ModelVersion.objects.filter(project=project).select_related("training_run__dataset")
    bases = list(BaseModel.objects.order_by("parameters", "name"))
    here = [one for one in bases if _is_here(one)]
    return {
        "Base models": [_base(one, limit) for one in here],
        FETCHED: [_base(one, limit) for one in bases if one not in here],
        "Fine-tuned here": [_version(one) for one in versions.order_by("-number")[:NEWEST_VERSIONS]],
        "Elsewhere": [_endpoint(one) for one in Endpoint.objects.in_use(project)],
    }


def _is_here(model: BaseModel) -> bool:
    """Prepared, or to be prepared from what is installed."""
    return model.ready or model.source != BaseModel.Source.HUB


def _base(model: BaseModel, limit: int) -> Choice:
    found = fit(shape_of(model), limit_bytes=limit)
    facts = [
        f"{model.parameters / 1e6:,.0f} M parameters" if model.parameters else "",
        format_bytes(model.size_bytes) if model.size_bytes else "",
        f"context {model.context:,}" if model.context else "",
        model.licence or "no licence known",
        "" if model.instruction_tuned else "not taught to follow instructions",
        f"to serve: {found.sentence}" if found.fits else "",
    ]
    note = found.sentence if found.fits is False else ""
    if not _is_here(model):
        note = f"{note} Not on this machine: fetch it on the page of base models first.".strip()
    elif not model.ready:
        note = f"{note} Not prepared yet: that is done first, a minute or so.".strip()
    return Choice(model.slug, model.name, model, tuple(filter(None, facts)), found.fits, note)


def _version(version: ModelVersion) -> Choice:
    run = version.training_run
    facts = (f"{run}, trained on dataset v{run.dataset.number}", "what it was trained on does not judge")
    return Choice(f"version-{version.number}", str(version), version, facts)


def _endpoint(endpoint: Endpoint) -> Choice:
    priced = endpoint.price_in is not None and endpoint.price_out is not None
    facts = (endpoint.model, endpoint.url, "" if priced else "no price per token")
    note = "The text of the documents leaves this studio for that address."
    return Choice(f"endpoint-{endpoint.pk}", endpoint.name, endpoint, tuple(filter(None, facts)), None, note)


class BenchmarkForm(forms.Form):
    """A new benchmark: which models, by how many documents, decoded how."""

    models = forms.MultipleChoiceField(
        label="Models", error_messages={"required": "Tick at least one model.", "invalid_choice": "Not in the list."}
    )
    documents = forms.IntegerField(
        label="Documents that judge",
        min_value=LEAST,
        max_value=MOST,
        widget=forms.NumberInput(attrs={"class": "form-control num-input"}),
        help_text=f"{LEAST} to {MOST}, the same for every model: more of them tell models apart, and take longer.",
    )
    modes = forms.MultipleChoiceField(
        label="Decoding",
        choices=EvalRun.Mode.choices,
        error_messages={"required": "Tick at least one way of decoding."},
    )

    def __init__(self, data: Any = None, *, project: Project, stock: Stock, wanted: Iterable[str] = ()) -> None:
        self.groups = {name: found for name, found in choices(project).items() if found}
        self.by_key = {choice.key: choice for group in self.groups.values() for choice in group}
        ticked = [key for key in wanted if key in self.by_key] or self._usual()
        ways = modes_of(project.schema_version)
        usual = {
            "models": ticked,
            "documents": max(LEAST, min(USUAL, stock.count)),
            "modes": [mode for mode, _ in ways if mode != EvalRun.Mode.GROUNDED],
        }
        super().__init__(data, initial=usual)
        modes: Any = self.fields["modes"]
        modes.choices = ways
        models: Any = self.fields["models"]
        models.choices = [(key, choice.name) for key, choice in self.by_key.items()]

    def _usual(self) -> list[str]:
        """Base models that are here and not known to be too large, the smallest first."""
        bases = [one for one in self.by_key.values() if isinstance(one.subject, BaseModel) and _is_here(one.subject)]
        return [one.key for one in bases if one.fits is not False and one.key != TINY][:TICKED]

    @property
    def ticked(self) -> list[str]:
        """Keys that are ticked now."""
        return [str(value) for value in self["models"].value() or []]

    @property
    def fetched_ticked(self) -> bool:
        """Whether a model that is not here yet is ticked: its group is open then."""
        return any(choice.key in self.ticked for choice in self.groups.get(FETCHED, []))

    @property
    def ticked_modes(self) -> list[str]:
        """Modes that are ticked now."""
        return [str(value) for value in self["modes"].value() or []]

    @property
    def most(self) -> int:
        """How many models can be ticked."""
        return MOST_CANDIDATES

    def order(self) -> dict[str, Any]:
        """What ``start_benchmark`` takes."""
        wanted = self.cleaned_data
        return {
            "candidates": [self.by_key[key].subject for key in wanted["models"]],
            "modes": wanted["modes"],
            "documents": wanted["documents"],
        }
