"""Packages: requests, and the spec of the child process that builds one."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from evaluation.models import Approval, EvalOutput, EvalRun, GateReport
from evaluation.runs import run_documents
from labeling.models import Project
from serving.engines import ENGINES
from serving.models import Package, Replica, Variant
from serving.packages.calibrations import calibration_documents
from serving.packages.parity import DOCUMENTS
from serving.packages.spec import PackSpec, PackVariant
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage import artifacts
from training.models import ModelExport
from training.spec import ModelRef


def default_engine(run: EvalRun) -> str:
    """The engine that serves an evaluation by default: what it was evaluated with."""
    if (family := _family(run)) != "decoder":
        return "sklearn" if family == "classical" else "encoder"
    return "llama_cpp" if run.export_id is not None else "transformers"


def _family(run: EvalRun) -> str:
    """Of the evaluated model, as ``EngineType.family``."""
    if run.classical_id is not None:
        return "classical"
    return "encoder" if run.training_run is not None and run.training_run.base_model.is_encoder else "decoder"


def choices(run: EvalRun) -> list[Variant]:
    """Every variant that the package of an evaluation can have; that of the evaluation first. ``problem``: why it
    cannot, as a sentence."""
    exports = [export for export in _exports(run) if export.is_available]
    variants = []
    for name, engine in ENGINES.items():
        if engine.family == _family(run):
            problem = _engine_problem(run, name)
            files = exports if engine.loads == "gguf" else [None]
            variants += [replace(_variant(name, export), problem=problem) for export in files]
    first, export = default_engine(run), run.export_id
    return sorted(
        variants, key=lambda variant: (variant.engine != first, variant.export is not None and variant.export != export)
    )


def _variant(engine: str, export: ModelExport | None) -> Variant:
    """The variant of an engine, such as ``vllm`` or ``llama_cpp-q8_0``, before its build."""
    if export is None:
        return Variant(engine, engine)
    return Variant(f"{engine}-{export.kind}", engine, export.kind, export.pk, f"model-{export.kind}.gguf")


def _engine_problem(run: EvalRun, name: str) -> str:
    """Why an engine cannot be used, as a sentence: it drops a part of the model, or is a server that is not set up."""
    engine = ENGINES[name]
    if name != "transformers" and run.training_run is not None and run.training_run.facts.get("hybrid"):
        return f"{engine.label} would run only the decoder of this hybrid model."
    if run.mode == "grounded" and not engine.is_grounded:
        return f"{engine.label} does not support grounded decoding."
    missing = engine.servers and not any(getattr(settings, variable) for variable in engine.servers)
    return "Not set up. Ask an administrator." if missing else ""


def _exports(run: EvalRun) -> Any:
    return ModelExport.objects.filter(model_version__isnull=False, model_version=run.model_version_id).order_by("kind")


@transaction.atomic
def request_package(*, run: EvalRun, user: User | None, engine: str = "", export: ModelExport | None = None) -> Package:
    """The newest package of an evaluation with this engine, or a new one that is queued.

    ``engine``: an engine or the key of a variant; "": that of the evaluation. ``export``: the GGUF file of another
    quantization.

    Raises:
        Refused: ``field`` is run or engine; the model cannot be served like this.
    """
    require(run.project, user, Action.RUN, Action.DEPLOY)
    project = _locked(run)
    wanted = _checked_variant(run, engine, export)
    for package in Package.objects.filter(eval_run=run).order_by("-number"):
        if package.deleted_at is not None:
            continue
        variant = package.variant(wanted.key)
        # A package of before has the engine as its key.
        if variant is None and package.engine == wanted.engine and not package.variants:
            variant = package.variant("")
        if variant is None or variant.problem or (wanted.export and variant.export != wanted.export):
            continue
        if package.is_ready or package.status in ACTIVE:
            return package
        _check_quota(project)
        package.requeue_by(user)
        return package
    _check_quota(project)
    return _create(project, run, user, [wanted])


def prepare_package(report: GateReport, user: User | None) -> None:
    """Queues the package of a model whose gates pass, so that an approval is followed by a deployment at once.

    Not of a decoder, which is gigabytes: its package is built when it is deployed.
    """
    if _family(report.eval_run) != "decoder":
        with suppress(Refused):
            request_package(run=report.eval_run, user=user)


def wanted_key(run: EvalRun, engine: str) -> str:
    """The key of the variant that ``request_package`` looks for. Raises Refused as that does."""
    return _checked_variant(run, engine, None).key


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
    wanted = [_checked_variant(run, key, None, field="variants") for key in dict.fromkeys(variants)]
    if Package.objects.filter(eval_run=run, status__in=ACTIVE).exists():
        raise Refused("A package of this evaluation is already being built.", field="variants", code="busy")
    _check_quota(project)
    return _create(project, run, user, wanted)


def _locked(run: EvalRun) -> Project:
    return Project.objects.select_for_update(no_key=True).get(pk=run.project_id)


def _check_quota(project: Project) -> None:
    if why := quotas.storage_problem(project) or quotas.compute_problem(project):
        raise Refused(why, field="run", code="quota")


def _create(project: Project, run: EvalRun, user: User | None, wanted: Sequence[Variant]) -> Package:
    package = Package.objects.create(
        project=project, number=project.next_number(Package), eval_run=run,
        engine=wanted[0].engine, export_id=wanted[0].export, variants=[asdict(variant) for variant in wanted],
        created_by=user,
    )  # fmt: skip
    # What takes seconds does not wait for trainings.
    package.enqueue(first=_family(run) != "decoder")
    return package


def _checked_variant(run: EvalRun, wanted: str, export: ModelExport | None, field: str = "engine") -> Variant:
    """A variant by its key or engine; checks that the evaluation can be packaged with it."""
    wanted = wanted or default_engine(run)
    name, _, kind = wanted.partition("-")
    engine = ENGINES.get(name)
    if engine is None:
        raise Refused(f"There is no engine {wanted!r}. The engines are {', '.join(ENGINES)}.", field=field)
    if run.status != Status.DONE or run.benchmark_id is not None:
        raise Refused("Only a finished evaluation can be packaged.", field="run", code="unfinished")
    if run.endpoint_id is not None or not run.spec:
        raise Refused("An external model has no files to package.", field="run", code="external")
    if engine.family != _family(run):
        raise Refused(f"{engine.label} cannot run {run.model_label}.", field=field, code="other_model")
    if engine.loads == "gguf":
        export = _export(run, export or (_exports(run).filter(kind=kind).first() if kind else run.export), field)
    if problem := _engine_problem(run, name):
        raise Refused(problem, field=field, code="no_server")
    return _variant(name, export if engine.loads == "gguf" else None)


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
    lines = "".join(dumps({"text": row["text"], "gold": row["gold"]}) + "\n" for row in calibration.rows)
    artifacts.write_text(calibration_key, lines)
    return PackSpec(
        evaluation=evaluation,
        model=evaluation.model,
        output_dir=str(artifacts.local_path(folder_key(package))),
        parity=str(artifacts.local_path(key)),
        variants=tuple(_pack_variant(variant) for variant in package.all_variants),
        name=served_name(package),
        calibration=str(artifacts.local_path(calibration_key)) if calibration.rows else "",
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
    name = variant.gguf or ("model.gguf" if gguf else "")
    return PackVariant(key=variant.key, engine=variant.engine, gguf=gguf, name=name)


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


def of_project(project: Project) -> list[dict[str, Any]]:
    """Every evaluation with its packages, the newest package first: what else it can be built with, the number of its
    approved gate report, and whether a package is being built. ``running``: the versions that have replicas now."""
    running = Replica.objects.ready().filter(release__project=project).values_list("release_id", flat=True)
    approved = dict(
        Approval.objects.filter(report__project=project, decision=Approval.Decision.APPROVED)
        .order_by("report__number")
        .values_list("report__eval_run_id", "report__number")
    )
    groups: dict[int, list[Package]] = {}
    rows = Package.objects.with_content().prefetch_related("releases").filter(project=project)
    for package in rows.order_by("-number"):
        groups.setdefault(package.eval_run_id, []).append(package)
    return [
        {
            "run": packages[0].eval_run, "packages": packages, "choices": choices(packages[0].eval_run),
            "report": approved.get(run), "is_building": any(package.is_live for package in packages),
            "running": set(running),
        }
        for run, packages in groups.items()
    ]  # fmt: skip
