"""Packages: requests, and the spec of the child process that builds one."""

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max

from evaluation.inference.spec import EvalSpec
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import run_documents
from labeling.models import Project
from serving.models import Package
from serving.packages.parity import DOCUMENTS
from serving.packages.spec import PackSpec, ParityDocument
from slmstudio import quotas
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage import artifacts
from training.models import ModelExport
from training.spec import ModelRef

Engine = Package.Engine


def default_engine(run: EvalRun) -> str:
    """The engine that serves an evaluation by default: what it was evaluated with."""
    return Engine.LLAMA_CPP if run.export_id is not None else Engine.TRANSFORMERS


@transaction.atomic
def request_package(*, run: EvalRun, user: User, engine: str = "", export: ModelExport | None = None) -> Package:
    """The package of an evaluation on an engine: the existing one, or a new one that is queued.

    ``engine`` "": that of the evaluation. ``export``: the GGUF file of another quantization, for llama.cpp.

    Raises:
        Refused: ``field`` is run or engine; the model cannot be served like this.
    """
    project = Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    engine = engine or default_engine(run)
    export = _export(run, engine, export)
    package: Package | None = Package.objects.filter(eval_run=run, engine=engine, export=export).first()
    if package is not None and (package.is_ready or package.status in ACTIVE):
        return package
    if why := quotas.storage_problem(project) or quotas.compute_problem(project):
        raise Refused(why, field="run", code="quota")
    if package is not None:
        package.requeue_by(user)
        return package
    last = Package.objects.filter(project=project).aggregate(last=Max("number"))["last"] or 0
    package = Package.objects.create(
        project=project, number=last + 1, eval_run=run, engine=engine, export=export, created_by=user
    )
    package.enqueue()
    return package


def _export(run: EvalRun, engine: str, export: ModelExport | None) -> ModelExport | None:
    """The GGUF file of a package; checks that the evaluation can be packaged."""
    if engine not in Engine.values:
        raise Refused(f"There is no engine {engine!r}. The engines are {', '.join(Engine.values)}.", field="engine")
    if run.status != Status.DONE or run.benchmark_id is not None:
        raise Refused("Only a finished evaluation can be packaged.", field="run", code="unfinished")
    if run.endpoint_id is not None or not run.spec:
        raise Refused("An external model has no files to package.", field="run", code="external")
    if engine == Engine.TRANSFORMERS:
        return None
    export = export or run.export
    if export is None and run.model_version_id is not None:
        export = (
            ModelExport.objects.filter(model_version=run.model_version_id, status=Status.DONE).order_by("kind").first()
        )
    if export is None or not export.is_available:
        raise Refused(
            "llama.cpp needs a GGUF file of this model. Create one under Exports on the page of the training run.",
            field="engine",
            code="no_gguf",
        )
    if export.model_version_id != run.model_version_id:
        raise Refused("The GGUF file is of another model.", field="engine", code="other_model")
    return export


def folder_key(package: Package) -> str:
    """The folder of a package in the artifact store."""
    return f"packages/{package.project_id}/{package.number}"


def pack_spec(package: Package) -> PackSpec:
    """The spec of the child that builds a package; writes the file of its parity documents."""
    run = package.eval_run
    evaluation = EvalSpec.from_yaml(run.spec)
    key = f"{folder_key(package)}.parity.jsonl"
    artifacts.write_text(key, "".join(dumps(one) + "\n" for one in _parity_documents(run)))
    export = package.export
    gguf = None
    if export is not None:
        file = next(file for file in export.files if str(file["path"]).endswith(".gguf"))
        path = artifacts.local_path(export.folder_key) / str(file["path"])
        gguf = ModelRef(path=str(path), sha256=str(file["sha256"]))
    return PackSpec(
        evaluation=evaluation,
        engine="llama_cpp" if package.engine == Engine.LLAMA_CPP else "transformers",
        model=evaluation.model,
        output_dir=str(artifacts.local_path(folder_key(package))),
        parity=str(artifacts.local_path(key)),
        gguf=gguf,
    )


def _parity_documents(run: EvalRun) -> list[dict[str, object]]:
    """Documents of the evaluation with output and gold: the first ones that the model answered."""
    texts = {str(row["id"]): str(row["text"]) for row in run_documents.rows(run)}
    outputs = EvalOutput.objects.filter(eval_run=run).exclude(finish_reason="error").select_related("document")
    found = []
    for output in outputs.order_by("document_id")[:DOCUMENTS]:
        name = output.document.external_id
        if name in texts:
            found.append({"id": name, "text": texts[name], "raw": output.raw, "gold": output.gold})
    if not found:
        raise Refused("The evaluation has no output to compare the package with.", field="run", code="no_outputs")
    return found


__all__ = ["Engine", "ParityDocument", "default_engine", "folder_key", "pack_spec", "request_package"]
