"""Packages: requests, and the spec of the child process that builds one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import run_documents
from labeling.models import Project
from serving.models import Package, Variant
from serving.packages.calibrations import calibration_documents
from serving.packages.parity import DOCUMENTS
from serving.packages.spec import GGUF_ENGINES, PackSpec, PackVariant, ParityDocument
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage import artifacts
from training.models import ModelExport
from training.spec import ModelRef

Engine = Package.Engine
_WEIGHT_ENGINES = (str(Engine.TRANSFORMERS), str(Engine.VLLM))


@dataclass(frozen=True)
class Choice:
    """A variant that a package can have. ``problem``: why it cannot, as a sentence."""

    key: str
    engine: str
    export: ModelExport | None = None
    problem: str = ""

    def as_row(self) -> dict[str, Any]:
        """As it is stored with a package before its build."""
        kind = self.export.kind if self.export is not None else ""
        export = self.export.pk if self.export is not None else None
        gguf = f"model-{kind}.gguf" if kind else ""
        return asdict(Variant(self.key, self.engine, kind, export, gguf))

    @property
    def label(self) -> str:
        """For people."""
        return Variant(self.key, self.engine, self.export.kind if self.export is not None else "").label


def default_engine(run: EvalRun) -> str:
    """The engine that serves an evaluation by default: what it was evaluated with."""
    if run.classical_id is not None:
        return Engine.SKLEARN
    return Engine.LLAMA_CPP if run.export_id is not None else Engine.TRANSFORMERS


def choices(run: EvalRun) -> list[Choice]:
    """Every variant that the package of an evaluation can have; that of the evaluation first."""
    if run.classical_id is not None:
        return [Choice(Engine.SKLEARN, Engine.SKLEARN)]
    exports = [export for export in _exports(run) if export.is_available]
    variants = [Choice(engine, engine, problem=_server_problem(run, engine)) for engine in _WEIGHT_ENGINES]
    for engine in GGUF_ENGINES:
        problem = _server_problem(run, engine)
        variants += [Choice(variant_key(engine, export), engine, export, problem) for export in exports]
    first = default_engine(run)
    return sorted(
        variants, key=lambda choice: (choice.engine != first, choice.export is not None and choice.export != run.export)
    )


def variant_key(engine: str, export: ModelExport | None) -> str:
    """The key of a variant, such as ``vllm`` or ``llama_cpp-q8_0``."""
    return str(engine) if export is None else f"{engine}-{export.kind}"


def _server_problem(run: EvalRun, engine: str) -> str:
    """Why a server outside the replicas cannot be used, as a sentence."""
    if engine == Engine.VLLM and not (settings.VLLM_COMMAND or settings.VLLM_URL):
        return "Not set up. Ask an administrator."
    if engine == Engine.OLLAMA and run.mode == "grounded":
        return "Ollama does not support grounded decoding."
    return "Not set up. Ask an administrator." if engine == Engine.OLLAMA and not settings.OLLAMA_URL else ""


def _exports(run: EvalRun) -> Any:
    return ModelExport.objects.filter(model_version__isnull=False, model_version=run.model_version_id).order_by("kind")


@transaction.atomic
def request_package(*, run: EvalRun, user: User, engine: str = "", export: ModelExport | None = None) -> Package:
    """The newest package of an evaluation with this engine, or a new one that is queued.

    ``engine``: an engine or the key of a variant; "": that of the evaluation. ``export``: the GGUF file of another
    quantization.

    Raises:
        Refused: ``field`` is run or engine; the model cannot be served like this.
    """
    require(run.project, user, Action.RUN, Action.DEPLOY)
    project = _locked(run)
    wanted = _choice(run, engine, export)
    for package in Package.objects.filter(eval_run=run).order_by("-number"):
        if package.deleted_at is not None:
            continue
        variant = package.variant(wanted.key)
        # A package of before has the engine as its key.
        if variant is None and package.engine == wanted.engine and not package.variants:
            variant = package.variant("")
        if variant is None or variant.problem or (wanted.export and variant.export != wanted.export.pk):
            continue
        if package.is_ready or package.status in ACTIVE:
            return package
        _check_quota(project)
        package.requeue_by(user)
        return package
    _check_quota(project)
    return _create(project, run, user, [wanted])


def wanted_key(run: EvalRun, engine: str) -> str:
    """The key of the variant that ``request_package`` looks for. Raises Refused as that does."""
    return _choice(run, engine, None).key


@transaction.atomic
def build_again(*, run: EvalRun, user: User, variants: Sequence[str]) -> Package:
    """Another package of an evaluation, with these variants; the first one is the default.

    Releases keep the package that they run until they are deployed again.

    Raises:
        Refused: ``field`` is variants; a variant cannot be built, or a package of the evaluation is being built.
    """
    require(run.project, user, Action.RUN, Action.DEPLOY)
    project = _locked(run)
    if not variants:
        raise Refused("Select an engine.", field="variants", code="variants")
    wanted = [_choice(run, key, None, field="variants") for key in dict.fromkeys(variants)]
    if Package.objects.filter(eval_run=run, status__in=ACTIVE).exists():
        raise Refused("A package of this evaluation is already being built.", field="variants", code="busy")
    _check_quota(project)
    return _create(project, run, user, wanted)


def _locked(run: EvalRun) -> Project:
    return Project.objects.select_for_update(no_key=True).get(pk=run.project_id)


def _check_quota(project: Project) -> None:
    if why := quotas.storage_problem(project) or quotas.compute_problem(project):
        raise Refused(why, field="run", code="quota")


def _create(project: Project, run: EvalRun, user: User, wanted: Sequence[Choice]) -> Package:
    package = Package.objects.create(
        project=project, number=project.next_number(Package), eval_run=run,
        engine=wanted[0].engine, export=wanted[0].export, variants=[choice.as_row() for choice in wanted],
        created_by=user,
    )  # fmt: skip
    package.enqueue()
    return package


def _choice(run: EvalRun, wanted: str, export: ModelExport | None, field: str = "engine") -> Choice:
    """A variant by its key or engine; checks that the evaluation can be packaged with it."""
    wanted = wanted or default_engine(run)
    engine, _, kind = wanted.partition("-")
    if engine not in Engine.values:
        raise Refused(f"There is no engine {wanted!r}. The engines are {', '.join(Engine.values)}.", field=field)
    if run.status != Status.DONE or run.benchmark_id is not None:
        raise Refused("Only a finished evaluation can be packaged.", field="run", code="unfinished")
    if run.endpoint_id is not None or not run.spec:
        raise Refused("An external model has no files to package.", field="run", code="external")
    if (engine == Engine.SKLEARN) != (run.classical_id is not None):
        label = Engine(engine).label
        raise Refused(f"{label} cannot run {run.model_label}.", field=field, code="other_model")
    choice = Choice(engine, engine)
    if engine in GGUF_ENGINES:
        export = _export(run, export or (_exports(run).filter(kind=kind).first() if kind else run.export), field)
        choice = Choice(variant_key(engine, export), engine, export)
    problem = _server_problem(run, engine)
    if problem:
        raise Refused(problem, field=field, code="no_server")
    return choice


def _export(run: EvalRun, export: ModelExport | None, field: str) -> ModelExport:
    """The GGUF file of a variant."""
    export = export or _exports(run).filter(status=Status.DONE).first()
    if export is None or not export.is_available:
        raise Refused(
            "llama.cpp needs a GGUF file of this model. Create one under Exports on the page of the training run.",
            field=field,
            code="no_gguf",
        )
    if export.model_version_id != run.model_version_id:
        raise Refused("The GGUF file belongs to a different model.", field=field, code="other_model")
    return export


def folder_key(package: Package) -> str:
    """The folder of a package in the artifact store."""
    return f"packages/{package.project_id}/{package.number}"


def pack_spec(package: Package) -> PackSpec:
    """The spec of the child that builds a package; writes the file of its parity documents."""
    run = package.eval_run
    evaluation = run.backend.served_spec(run)
    key = f"{folder_key(package)}.parity.jsonl"
    artifacts.write_text(key, "".join(dumps(document) + "\n" for document in _parity_documents(run)))
    calibration = calibration_documents(run)
    calibration_key = f"{folder_key(package)}.calibration.jsonl"
    lines = "".join(dumps({"text": document.text, "gold": document.gold}) + "\n" for document in calibration.documents)
    artifacts.write_text(calibration_key, lines)
    first, *others = [_pack_variant(variant) for variant in package.all_variants]
    return PackSpec(
        evaluation=evaluation,
        engine=first.engine,
        model=evaluation.model,
        output_dir=str(artifacts.local_path(folder_key(package))),
        parity=str(artifacts.local_path(key)),
        gguf=first.gguf,
        gguf_name=first.name or "model.gguf",
        key=first.key,
        name=served_name(package),
        variants=tuple(others),
        calibration=str(artifacts.local_path(calibration_key)) if calibration.documents else "",
    )


def served_name(package: Package) -> str:
    """The name of the model on a server with several: the same for every package of the same weights."""
    model = package.eval_run.backend.served_spec(package.eval_run).model.sha256
    return f"{package.project.slug}-{model[:12] or package.eval_run_id}"


def _pack_variant(variant: Variant) -> PackVariant:
    gguf = None
    if variant.export is not None:
        export = ModelExport.objects.get(pk=variant.export)
        file = next(file for file in export.files if str(file["path"]).endswith(".gguf"))
        path = artifacts.local_path(export.folder_key) / str(file["path"])
        gguf = ModelRef(path=str(path), sha256=str(file["sha256"]))
    engine: Any = variant.engine
    return PackVariant(key=variant.key, engine=engine, gguf=gguf, name=variant.gguf or ("model.gguf" if gguf else ""))


def _parity_documents(run: EvalRun) -> list[dict[str, object]]:
    """Documents of the evaluation with output and gold: the first ones that the model answered."""
    texts = {str(row["id"]): str(row["text"]) for row in run_documents.rows(run)}
    outputs = EvalOutput.objects.filter(eval_run=run).exclude(finish_reason="error").select_related("document")
    documents = []
    for output in outputs.order_by("document_id")[:DOCUMENTS]:
        name = output.document.external_id
        if name in texts:
            documents.append({"id": name, "text": texts[name], "raw": output.raw, "gold": output.gold})
    if not documents:
        raise Refused("The evaluation has no output to compare the package with.", field="run", code="no_outputs")
    return documents


__all__ = ["Engine", "ParityDocument", "default_engine", "folder_key", "pack_spec", "request_package"]
