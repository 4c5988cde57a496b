"""Exports of a run: requests, specs of the child processes, and the options on its page."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.text import slugify

from labeling.datasets.queries import file_path
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage.artifacts import local_path
from training.exports.child_specs import GgufSpec, TrainerSpec
from training.exports.trainers.base import Trainer
from training.exports.trainers.registry import TRAINERS
from training.models import Export, ModelExport, ModelVersion, SpecExport, TrainingRun
from training.spec import DatasetRef, ModelRef, RunSpec

GGUF = tuple(ModelExport.Kind.values)
HYBRID_MESSAGE = "A hybrid model consists of two models and cannot be exported as one file. Build a package."
ENCODER_MESSAGE = (
    "An encoder with heads cannot be exported for llama.cpp or another trainer. Download the model, or build a package."
)


def request_export(*, run: TrainingRun, key: str, user: User) -> Export:
    """The export of a run with this key: the active one, or a new attempt that is queued.

    ``key``: a trainer, or a kind of GGUF file: ``q8_0`` of the weights that the run chose, ``q8_0-v4`` of the other
    weights that it kept as model version 4. A previous export stays available until the new one is complete, and if
    that fails.

    Raises:
        Refused: no such export, a GGUF file of a run without a model, an encoder, or a hybrid model.
    """
    require(run.project, user, Action.RUN)
    if problem := why_none(run):
        raise Refused(problem, field="kind", code="encoder")
    if key in TRAINERS:
        return _request(SpecExport, {"training_run": run, "kind": key}, user)
    if not is_key(run, key):
        raise Refused(f"Export {key!r} not found.", field="kind", code="unknown_export")
    kind, model = _gguf(run, key)
    if model is None:
        raise Refused("The run has no model to export yet. Wait until it is done.", field="kind", code="no_model")
    if model.weights_deleted_at is not None:
        raise Refused(f"The weights of {model} were deleted.", field="kind", code="no_weights")
    if run.facts.get("hybrid"):
        message = f"A GGUF file would hold only the decoder of {model}. Export the run that trained the decoder."
        raise Refused(message, field="kind", code="hybrid")
    return _request(ModelExport, {"model_version": model, "kind": kind}, user)


def is_key(run: TrainingRun, key: str) -> bool:
    """Whether a run can have an export with this key."""
    kind, model = _gguf(run, key)
    return key in TRAINERS or (kind in GGUF and (key == kind or model is not None))


def _gguf(run: TrainingRun, key: str) -> tuple[str, ModelVersion | None]:
    """The kind of GGUF file that a key names, and the version that it is of."""
    kind, separator, number = key.partition("-v")
    if not separator:
        return kind, model_of(run)
    return kind, next((model for model in _alternatives(run) if str(model.number) == number), None)


def _alternatives(run: TrainingRun) -> list[ModelVersion]:
    """The weights that a run kept next to those that it chose."""
    return list(ModelVersion.objects.filter(training_run=run, is_alternative=True))


def key_of(export: Export) -> str:
    """The key of an export."""
    if isinstance(export, ModelExport) and export.model_version.is_alternative:
        return f"{export.kind}-v{export.model_version.number}"
    return str(export.kind)  # type: ignore[attr-defined]


@transaction.atomic
def _request(table: type[Export], key: dict[str, Any], user: User) -> Export:
    table.objects.bulk_create([table(**key, created_by=user, status=Status.CANCELLED)], ignore_conflicts=True)
    export: Export = table.objects.select_for_update(of=("self",)).get(**key)
    if export.status in ACTIVE:
        return export
    project = (key.get("training_run") or key["model_version"].training_run).project
    if why := quotas.storage_problem(project) or (table is ModelExport and quotas.compute_problem(project)):
        raise Refused(why, field="kind")
    export.requeue_by(user)
    return export


def find(run: TrainingRun, key: str) -> Export | None:
    """The export of a run with this key in any state, or None."""
    if key in TRAINERS:
        return SpecExport.objects.filter(training_run=run, kind=key).first()
    kind, model = _gguf(run, key)
    return ModelExport.objects.filter(model_version=model, kind=kind).first() if model is not None else None


def model_of(run: TrainingRun) -> ModelVersion | None:
    """The model version with the weights that a run chose, or None."""
    return ModelVersion.objects.chosen().filter(training_run=run).first()


def keep_previous_export(export: Export) -> None:
    """Marks a repeated export as done again where its worker was lost: its previous files are still complete.

    The reaper ends a run without the transitions of ``Export``.
    """
    ended = type(export).objects.filter(
        pk=export.pk, job_id=export.job_id, status__in=(Status.FAILED, Status.CANCELLED)
    )
    ended.exclude(folder_key="").update(status=Status.DONE)


# -- specs of the child processes -------------------------------------------------------------------------------------


def next_folder_key(export: ModelExport | SpecExport) -> str:
    """The key of the folder for the next export: never the one of its current files."""
    run = export.model_version.training_run if isinstance(export, ModelExport) else export.training_run
    first = f"{run.folder_key}/exports/{key_of(export)}"
    return f"{first}-2" if export.folder_key == first else first


def gguf_spec(export: ModelExport) -> GgufSpec:
    """The spec of the child that creates and checks a GGUF file."""
    model, run = export.model_version, export.model_version.training_run
    spec = RunSpec.from_yaml(run.spec)
    return GgufSpec(
        model=ModelRef(path=str(local_path(model.folder_key)), sha256=model.sha256, slug=spec.base_model.slug),
        dataset=DatasetRef(path=str(file_path(run.dataset)), sha256=run.dataset.sha256),
        contract=spec.contract,
        converter=str(settings.GGUF_CONVERTER),
        output_dir=str(local_path(next_folder_key(export))),
        stem=f"{slugify(run.project.slug) or 'model'}-v{model.number}-{export.kind}"[-100:].lower().lstrip("-_"),
        title=f"{run.project.name} v{model.number}"[:100],
        prompt=spec.prompt,
        kind="f16" if export.kind == ModelExport.Kind.F16 else "q8_0",
    )


def trainer_spec(export: SpecExport) -> TrainerSpec:
    """The spec of the child that writes settings and rows for another trainer."""
    run = export.training_run
    spec, base, trainer = RunSpec.from_yaml(run.spec), run.base_model, TRAINERS[export.kind]
    on_hub = base.source == base.Source.HUB
    return TrainerSpec(
        run=spec,
        trainer=trainer.name,
        output_dir=str(local_path(next_folder_key(export))),
        base_model=base.location if on_hub else spec.base_model.path,
        revision=base.revision if on_hub else "",
        title=f"{run.project.name}: {run}",
        checker=getattr(settings, trainer.python_setting) if trainer.python_setting else "",
    )


# -- options on the page ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExportOption:
    """One export with its title and description, and its row where there is one. ``model``: of a GGUF file; None for a
    run that has none yet."""

    key: str
    title: str
    description: str
    export: Export | None
    model: ModelVersion | None = None

    @property
    def trainer(self) -> Trainer | None:
        """The other trainer that it is for; None for a GGUF file."""
        return TRAINERS.get(self.key)

    @property
    def can_export(self) -> bool:
        """Whether what it is made of is there."""
        return self.trainer is not None or (self.model is not None and self.model.weights_deleted_at is None)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file["size"] for file in self.export.files) if self.export else 0

    @property
    def is_ready(self) -> bool:
        """Whether its files can be downloaded."""
        return self.export is not None and self.export.is_available

    @property
    def rejected(self) -> dict[str, Any]:
        """The parity check of a rejected file; empty without one."""
        if not isinstance(self.export, ModelExport):
            return {}
        parity: dict[str, Any] = self.export.parity
        return parity if self.export.status == Status.FAILED else parity.get("refused", {})

    @property
    def file(self) -> dict[str, Any] | None:
        """The GGUF file with its size and hash."""
        return (
            next((file for file in self.export.files if file["path"].endswith(".gguf")), None) if self.export else None
        )

    @property
    def validated(self) -> dict[str, Any]:
        """The result of loading this export with its trainer; empty where that has not happened."""
        result = self.export.validation if isinstance(self.export, SpecExport) and self.is_ready else {}
        return result if result.get("ok") else {}


DESCRIPTIONS = {
    "f16": (
        "GGUF f16",
        "For llama.cpp, Ollama and LM Studio: 16-bit weights, compared with this model on llama.cpp.",
    ),
    "q8_0": (
        "GGUF q8_0",
        "Half the size, and faster. With 8-bit weights some outputs differ; the parity check counts them.",
    ),
    **{trainer.name: (trainer.title, trainer.description) for trainer in TRAINERS.values()},
}


def why_none(run: TrainingRun) -> str:
    """Why a run has no exports; "" where it has some."""
    if run.facts.get("hybrid"):
        return HYBRID_MESSAGE
    return ENCODER_MESSAGE if run.base_model.is_encoder else ""


def export_options(run: TrainingRun) -> list[ExportOption]:
    """All exports of a run, in the order of the page; none of an encoder or a hybrid model."""
    if why_none(run):
        return []
    models = ModelExport.objects.filter(model_version__training_run=run).select_related("model_version")
    exports: dict[str, Export] = {key_of(export): export for export in models}
    exports |= {key_of(export): export for export in SpecExport.objects.filter(training_run=run)}
    chosen = model_of(run)
    options = [ExportOption(kind, *DESCRIPTIONS[kind], exports.get(kind), chosen) for kind in GGUF]
    for model in _alternatives(run):
        model.training_run = run
        for kind in GGUF:
            title, key = f"{DESCRIPTIONS[kind][0]} of {model}", f"{kind}-v{model.number}"
            description = f"The weights that the run did not choose: {model.origin}."
            option = ExportOption(key, title, description, exports.get(key), model)
            if option.can_export or option.export is not None:
                options.append(option)
    return [*options, *(ExportOption(name, *DESCRIPTIONS[name], exports.get(name)) for name in TRAINERS)]
