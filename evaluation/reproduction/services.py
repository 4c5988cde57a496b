"""Makes the model and the outputs of a gate report again, and compares them."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from evaluation.gates.facts import Answer, measure
from evaluation.gates.gather import gather, surroundings
from evaluation.gates.holdout.alpha_spending import exhausted_reason
from evaluation.gates.policy.services import gates_of
from evaluation.gates.production import production_then
from evaluation.gates.provenance import environment_of
from evaluation.gates.verdicts import verdicts_for
from evaluation.inference.backend import ModelUnavailable
from evaluation.inference.classical import ClassicalBackend
from evaluation.inference.classical_spec import ClassicalSpec
from evaluation.inference.local import LlamaCppBackend, LocalBackend
from evaluation.inference.spec import EvalSpec, GgufRef
from evaluation.models import EvalOutput, EvalRun, GateReport
from evaluation.reproduction.differences import Change, Reproduction, changed_facts, changed_rates
from evaluation.runs import outputs, run_documents, summary
from labeling.datasets import queries as dataset_queries
from slmstudio.contract.json_text import dumps, loads
from slmstudio.errors import Refused
from slmstudio.runs.application import application
from slmstudio.storage.hashing import folder_manifest
from slmstudio.workers.devices import NotEnoughGpus
from training.child_processes import ChildFailed, Event, run_child, spec_file
from training.exports.services import gguf_spec
from training.runs.reproduction import changed_files, run_on_device, train_again
from training.spec import ModelRef

#: stage, and how many are done of how many; 0 of 0 where that is unknown
Progress = Callable[[str, int, int], None]
WAITING = "waiting for a device that another job uses"


def reproduce(*, report: GateReport, folder: Path, outputs_only: bool, progress: Progress) -> Reproduction:
    """Trains the model of a report again by its spec, generates the outputs, scores them, and compares.

    A base model is not trained; with ``outputs_only`` the stored model is used. Files are written to ``folder``; the
    database is only read. Latency and other resources are not compared.

    Raises:
        Refused: it cannot be reproduced here: an external model, or a file is missing or changed.
    """
    run = report.eval_run
    backend = run.backend
    if not isinstance(backend, LocalBackend | ClassicalBackend):
        raise Refused(f"{run.model_label} is an external model, which cannot be reproduced.", code="external")
    if not _spec_text(run):
        raise Refused(f"Evaluation {run.number} has no stored spec.", code="spec")
    found = Reproduction()
    found.environment["application"] = _application_changes(report)
    try:
        weights, gguf = _model(run, backend, folder, found, progress, outputs_only=outputs_only)
        rows = _answer(run, backend, folder, found, progress, weights, gguf)
    except (ModelUnavailable, ChildFailed, NotEnoughGpus, FileNotFoundError) as error:
        raise Refused(str(error), code="failed") from error
    _compare(report, rows, found)
    return found


def _application_changes(report: GateReport) -> list[Change]:
    """Since the evaluation; the training may have had another application."""
    recorded = (
        report.provenance.get("evaluation", {}).get("application") or report.eval_run.facts.get("application") or {}
    )
    return changed_facts(recorded, application())


def _spec_text(run: EvalRun) -> str:
    """The spec that generated the outputs; a re-scoring has that of its source."""
    return run.spec or (run.rescored_from.spec if run.rescored_from is not None else "")


# -- the model ---------------------------------------------------------------------------------------------------------


def _model(
    run: EvalRun,
    backend: LocalBackend | ClassicalBackend,
    folder: Path,
    found: Reproduction,
    progress: Progress,
    *,
    outputs_only: bool,
) -> tuple[Path, GgufRef | None]:
    """The folder of the model, and the GGUF file that llama.cpp loads."""
    if isinstance(backend, ClassicalBackend):
        return _classical_model(backend, folder, found, progress, outputs_only=outputs_only), None
    training, version = run.training_run, run.model_version
    if outputs_only or training is None or version is None:
        progress("checking the files of the model", 0, 0)
        backend.check_files()
        file = backend.gguf_file()
        return backend.folder, GgufRef(**file) if file is not None else None
    with _timed(found, "training"):
        made = train_again(version=version, folder=folder / "training", on_event=_training_progress(progress))
    found.environment["training"] = changed_facts(environment_of(training.facts), environment_of(made.facts))
    found.files = changed_files(version, made.folder)
    if not isinstance(backend, LlamaCppBackend):
        return made.folder, None
    progress("exporting to GGUF", 0, 0)
    spec = gguf_spec(backend.export)
    target = folder / "gguf"
    model = replace(spec.model, path=str(made.folder), sha256="")
    path = spec_file(replace(spec, model=model, output_dir=str(target)).to_yaml())
    try:
        with _timed(found, "export"):
            run_child("training.ml.export_gguf", path, folder / "gguf.log")
    finally:
        path.unlink(missing_ok=True)
    return made.folder, GgufRef(path=str(next(target.glob("*.gguf"))))


def _classical_model(
    backend: ClassicalBackend, folder: Path, found: Reproduction, progress: Progress, *, outputs_only: bool
) -> Path:
    if outputs_only:
        progress("checking the files of the model", 0, 0)
        backend.check_files()
        return backend.folder
    progress("training", 0, 0)
    made = folder / "classical"
    path = spec_file(backend.training_spec(made).to_yaml())
    try:
        with _timed(found, "training"):
            done = run_child("evaluation.ml.classical.train", path, folder / "training.log")["done"]
    finally:
        path.unlink(missing_ok=True)
    found.environment["training"] = changed_facts(environment_of(backend.model.facts), environment_of(done))
    before, now = ({one["path"]: one["sha256"] for one in folder_manifest(at)} for at in (backend.folder, made))
    found.files = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return made


def _training_progress(progress: Progress) -> Callable[[Event], None]:
    total = 0

    def on_event(event: Event) -> None:
        nonlocal total
        if event["event"] == "waiting":
            progress(WAITING, 0, 0)
        elif event["event"] == "start":
            total = int(event.get("total_steps") or 0)
        elif event["event"] == "metrics":
            progress("training", int(event["step"]), total)

    return on_event


# -- the outputs -------------------------------------------------------------------------------------------------------


def _answer(
    run: EvalRun,
    backend: LocalBackend | ClassicalBackend,
    folder: Path,
    found: Reproduction,
    progress: Progress,
    weights: Path,
    gguf: GgufRef | None,
) -> list[EvalOutput]:
    """The outputs of the evaluation's child process, scored as unsaved rows."""
    source = run.rescored_from or run
    file = folder / "outputs.jsonl"
    stored: EvalSpec | ClassicalSpec
    if isinstance(backend, ClassicalBackend):
        stored = ClassicalSpec.from_yaml(_spec_text(run))
    else:
        # On a CPU "auto" is decided by timing, and a busy machine decides otherwise.
        precision = environment_of(source.facts).get("precision")
        stored = replace(
            EvalSpec.from_yaml(_spec_text(run)),
            gguf=gguf,
            precision=precision if precision in ("fp32", "bf16") else "auto",
        )
    spec = replace(
        stored,
        model=ModelRef(path=str(weights)),
        documents=replace(stored.documents, path=str(dataset_queries.file_path(source.dataset))),
        outputs=str(file),
    )
    events = _generate(backend, spec, folder, found, progress)
    found.environment["evaluation"] = changed_facts(
        environment_of(source.facts), environment_of(events.get("start", {}))
    )
    compiled, documents = run.dataset.schema_version.compiled, run_documents.documents(run)
    texts = {str(row["id"]): row for row in run_documents.rows(run)}
    with file.open(encoding="utf-8") as lines:
        made = {str(event["id"]): event for event in map(json.loads, lines)}
    rows = []
    for key, pk in documents.items():
        if key in made and key in texts:
            row = outputs.scored_output(run, backend, compiled, document_id=pk, row=texts[key], event=made[key])
            row.score = loads(dumps(row.score))
            rows.append(row)
    return sorted(rows, key=lambda row: row.document_id)


def _generate(
    backend: LocalBackend | ClassicalBackend,
    spec: EvalSpec | ClassicalSpec,
    folder: Path,
    found: Reproduction,
    progress: Progress,
) -> dict[str, Event]:
    count = total = 0

    def on_event(event: Event) -> None:
        nonlocal count, total
        if event["event"] == "waiting":
            progress(WAITING, 0, 0)
        elif event["event"] == "start":
            total = int(event["documents"])
        elif event["event"] == "output":
            count += 1
            progress("generating", count, total)

    path = spec_file(spec.to_yaml())
    try:
        with _timed(found, "generation"):
            return run_on_device(backend.command(path), folder / "outputs.log", on_event)
    finally:
        path.unlink(missing_ok=True)


# -- the comparison ----------------------------------------------------------------------------------------------------


def _compare(report: GateReport, rows: list[EvalOutput], found: Reproduction) -> None:
    run = report.eval_run
    stored = EvalOutput.objects.filter(eval_run=run).values_list(
        "document_id", "document__external_id", "raw", "finish_reason"
    )
    now = {row.document_id: (row.raw, row.finish_reason) for row in rows}
    found.documents = len(stored)
    found.outputs = [name for pk, name, raw, reason in stored.order_by("document_id") if now.get(pk) != (raw, reason)]
    found.rates = changed_rates(run.scores, summary.summarize_outputs(run.dataset.schema_version.compiled, rows))
    found.verdicts = _changed_verdicts(report, rows)


def _changed_verdicts(report: GateReport, rows: list[EvalOutput]) -> list[Change]:
    """Gates on answers with another verdict. Resources keep the stored requests, the regression suite its answers."""
    run, policy = report.eval_run, gates_of(report.policy)
    around = replace(surroundings(policy, run), production=production_then(report))
    facts = gather(policy, run, report.baseline, report.measurement, around)
    facts = replace(facts, outputs=[Answer(row.document_id, row.tags, row.score, row) for row in rows])
    same = GateReport.objects.filter(policy=report.policy, eval_run=run, baseline=report.baseline)
    exhausted = exhausted_reason(run, policy, but=same)
    now = {
        verdict.gate.key: verdict
        for verdict in verdicts_for(policy, measure(policy, facts), report.look, exhausted=exhausted)
    }
    return [
        Change(str(one["gate"]["title"]), str(one["status"]), str(now[one["gate"]["key"]].status))
        for one in report.verdicts
        if one["status"] != now[one["gate"]["key"]].status
    ]


@contextmanager
def _timed(found: Reproduction, step: str) -> Iterator[None]:
    """Stores the seconds that a step takes."""
    began = time.monotonic()
    yield
    found.seconds[step] = round(time.monotonic() - began, 1)
