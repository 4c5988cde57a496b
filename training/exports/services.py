"""What of a run can be taken along: asking for exports, and what the page shows of them."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils.text import slugify

from labeling.datasets.queries import file_path
from slmstudio import quotas
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage.artifacts import local_path
from training.exports.child_specs import GgufSpec, TrainerSpec
from training.models import Export, ModelExport, ModelVersion, SpecExport, TrainingRun
from training.spec import DatasetRef, ModelRef, RunSpec

GGUF = tuple(ModelExport.Kind.values)
TRAINERS = tuple(SpecExport.Trainer.values)
KINDS = (*GGUF, *TRAINERS)


def request(*, run: TrainingRun, kind: str, user: User) -> Export:
    """The export of a run of one kind: the one that is being made, or a new attempt that is queued.

    What was made before stays until the new one is whole, and where that comes to nothing.

    Raises:
        Refused: no such kind, or a GGUF file of a run that has no model.
    """
    if kind in TRAINERS:
        return _request(SpecExport, {"training_run": run, "kind": kind}, user)
    if kind not in GGUF:
        raise Refused(f"There is no export {kind!r}.", field="kind")
    model = model_of(run)
    if model is None:
        raise Refused("The run has no model to export: it has to end well first.", field="kind")
    return _request(ModelExport, {"model_version": model, "kind": kind}, user)


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


def find(run: TrainingRun, kind: str) -> Export | None:
    """The export of a run of one kind, whatever became of it."""
    if kind in TRAINERS:
        return SpecExport.objects.filter(training_run=run, kind=kind).first()
    return ModelExport.objects.filter(model_version__training_run=run, kind=kind).first()


def model_of(run: TrainingRun) -> ModelVersion | None:
    """The model version that came out of a run."""
    return ModelVersion.objects.filter(training_run=run).first()


def keep_what_was_made(export: Export) -> None:
    """What was made before is what there is, where the worker that made it again was lost: the sweep ends a run past
    its own transitions, which see to that otherwise.
    """
    ended = type(export).objects.filter(
        pk=export.pk, job_id=export.job_id, status__in=(Status.FAILED, Status.CANCELLED)
    )
    ended.exclude(folder_key="").update(status=Status.DONE)


# -- what the children are told --------------------------------------------------------------------------------------


def folder_of(export: ModelExport | SpecExport) -> str:
    """The key of the folder that an export is made in next: never the one that it lies in."""
    run = export.model_version.training_run if isinstance(export, ModelExport) else export.training_run
    first = f"{run.folder_key}/exports/{export.kind}"
    return f"{first}-2" if export.folder_key == first else first


def gguf_spec(export: ModelExport) -> GgufSpec:
    """The spec of the child that makes a GGUF file and checks it."""
    model, run = export.model_version, export.model_version.training_run
    spec = RunSpec.from_yaml(run.spec)
    return GgufSpec(
        model=ModelRef(path=str(local_path(model.folder_key)), sha256=model.sha256, slug=spec.base_model.slug),
        dataset=DatasetRef(path=str(file_path(run.dataset)), sha256=run.dataset.sha256),
        contract=spec.contract,
        converter=str(settings.GGUF_CONVERTER),
        output_dir=str(local_path(folder_of(export))),
        stem=f"{slugify(run.project.slug) or 'model'}-v{model.number}-{export.kind}"[-100:].lower().lstrip("-_"),
        title=f"{run.project.name} v{model.number}"[:100],
        prompt=spec.prompt,
        kind="f16" if export.kind == ModelExport.Kind.F16 else "q8_0",
    )


def trainer_spec(export: SpecExport) -> TrainerSpec:
    """The spec of the child that writes settings and rows for another trainer."""
    run = export.training_run
    spec, base = RunSpec.from_yaml(run.spec), run.base_model
    on_hub = base.source == base.Source.HUB
    return TrainerSpec(
        run=spec,
        trainer="axolotl" if export.kind == SpecExport.Trainer.AXOLOTL else "unsloth",
        output_dir=str(local_path(folder_of(export))),
        base_model=base.location if on_hub else spec.base_model.path,
        revision=base.revision if on_hub else "",
        title=f"{run.project.name}: {run}",
        checker=settings.AXOLOTL_PYTHON if export.kind == SpecExport.Trainer.AXOLOTL else "",
    )


# -- what the page shows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """One way to take a run along: its kind with a title and a sentence, and the export where there is one."""

    kind: str
    title: str
    about: str
    export: Export | None

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file["size"] for file in self.export.files) if self.export else 0

    @property
    def ready(self) -> bool:
        """Made, and to be downloaded."""
        return self.export is not None and self.export.is_made

    @property
    def refused(self) -> dict[str, Any]:
        """What the check found about a file that was thrown away; empty where none was."""
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
        """What the other trainer said when it loaded this export; empty where it did not."""
        found = self.export.validation if isinstance(self.export, SpecExport) and self.ready else {}
        return found if found.get("ok") else {}


_ABOUT = {
    "f16": (
        "GGUF f16",
        "For llama.cpp, Ollama and LM Studio: the weights at 16 bits, checked against this model on llama.cpp.",
    ),
    "q8_0": (
        "GGUF q8_0",
        "Half the size, and faster. With weights of 8 bits some answers differ: the check counts them, or refuses it.",
    ),
    "axolotl": ("Axolotl", "This run's settings as axolotl.yaml, with its rows as the model reads them."),
    "unsloth": ("Unsloth", "This run's settings as a training script, with the same rows."),
}


def offers(run: TrainingRun) -> list[Offer]:
    """Everything a run can be taken along as, in the order of the page."""
    made: dict[str, Export] = {one.kind: one for one in SpecExport.objects.filter(training_run=run)}
    made |= {one.kind: one for one in ModelExport.objects.filter(model_version__training_run=run)}
    return [Offer(kind, *_ABOUT[kind], made.get(kind)) for kind in KINDS]
