"""Makes the model and the outputs of a gate report again, and compares them."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evaluation.gates.facts import external_inputs, gather, inapplicable_then, measure
from evaluation.gates.holdout.evaluation_numbers import exhausted_reason
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
from evaluation.runs import outputs, run_documents, summary
from labeling.datasets import queries as dataset_queries
from slmstudio.contract.json_text import dumps, loads
from slmstudio.errors import Refused
from slmstudio.runs.application import application
from slmstudio.storage.hashing import folder_manifest
from slmstudio.workers.gpu_reservations import NotEnoughGpus
from training.child_processes import ChildFailed, Event, run_child, spec_file
from training.exports.services import gguf_spec
from training.runs.reproduction import changed_files, run_on_device, train_again
from training.spec import ModelRef

#: facts of an environment that say nothing about the machine or its software
_IGNORED = ("memory_bytes", "gpu_memory_bytes")
_RATES = {
    "schema_valid": "Schema-valid outputs",
    "field_exact": "Field accuracy",
    "document_exact": "Exact match",
    "invariants_hold": "Rules",
    "hallucinated": "Hallucinated values",
}


@dataclass(frozen=True)
class Change:
    """A fact, a rate or a verdict that is another one now."""

    name: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.name}: {self.before or 'not recorded'} before, {self.now or 'none'} now"


@dataclass
class Reproduction:
    """The result. ``environment``: changes by step (training, evaluation), which can be why something differs.

    ``files``: of the model, that differ; None where it was not trained again. ``outputs``: ids of the documents whose
    output differs, out of ``documents``.
    """

    environment: dict[str, list[Change]] = field(default_factory=dict)
    files: list[str] | None = None
    documents: int = 0
    outputs: list[str] = field(default_factory=list)
    rates: list[Change] = field(default_factory=list)
    verdicts: list[Change] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def is_equal(self) -> bool:
        """Whether the model and every output are equal."""
        return not (self.files or self.outputs or self.rates or self.verdicts)


def changed_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The facts of an environment that differ, package versions one by one. What was not recorded is listed, too."""
    first, second = dict(_flat(before)), dict(_flat(now))
    return [
        Change(name, first.get(name, ""), second.get(name, ""))
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]


def _flat(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif name not in _IGNORED:
            yield name, str(value)


def changed_rates(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The rates of two summaries of scores that differ."""
    return [
        Change(title, _rate(before.get(name)), _rate(now.get(name)))
        for name, title in _RATES.items()
        if _rate(before.get(name)) != _rate(now.get(name))
    ]


def _rate(rate: Any) -> str:
    return f"{rate['k']} of {rate['n']}" if rate else ""


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
    result = Reproduction()
    result.environment["application"] = _application_changes(report)
    try:
        weights, gguf = _model(run, backend, folder, result, progress, outputs_only=outputs_only)
        rows = _answer(run, backend, folder, result, progress, weights, gguf)
    except (ModelUnavailable, ChildFailed, NotEnoughGpus, FileNotFoundError) as error:
        raise Refused(str(error), code="failed") from error
    _compare(report, rows, result)
    return result


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
    result: Reproduction,
    progress: Progress,
    *,
    outputs_only: bool,
) -> tuple[Path, GgufRef | None]:
    """The folder of the model, and the GGUF file that llama.cpp loads."""
    if isinstance(backend, ClassicalBackend):
        return _classical_model(backend, folder, result, progress, outputs_only=outputs_only), None
    training, version = run.training_run, run.model_version
    if outputs_only or training is None or version is None:
        progress("checking the files of the model", 0, 0)
        backend.check_files()
        file = backend.gguf_file()
        return backend.folder, GgufRef(**file) if file is not None else None
    with _timed(result, "training"):
        made = train_again(version=version, folder=folder / "training", on_event=_training_progress(progress))
    result.environment["training"] = changed_facts(environment_of(training.facts), environment_of(made.facts))
    result.files = changed_files(version, made.folder)
    if not isinstance(backend, LlamaCppBackend):
        return made.folder, None
    progress("exporting to GGUF", 0, 0)
    spec = gguf_spec(backend.export)
    target = folder / "gguf"
    model = replace(spec.model, path=str(made.folder), sha256="")
    path = spec_file(replace(spec, model=model, output_dir=str(target)).to_yaml())
    try:
        with _timed(result, "export"):
            run_child("training.ml.export_gguf", path, folder / "gguf.log")
    finally:
        path.unlink(missing_ok=True)
    return made.folder, GgufRef(path=str(next(target.glob("*.gguf"))))


def _classical_model(
    backend: ClassicalBackend, folder: Path, result: Reproduction, progress: Progress, *, outputs_only: bool
) -> Path:
    if outputs_only:
        progress("checking the files of the model", 0, 0)
        backend.check_files()
        return backend.folder
    progress("training", 0, 0)
    made = folder / "classical"
    path = spec_file(backend.training_spec(made).to_yaml())
    try:
        with _timed(result, "training"):
            done = run_child("evaluation.ml.classical.train", path, folder / "training.log")["done"]
    finally:
        path.unlink(missing_ok=True)
    result.environment["training"] = changed_facts(environment_of(backend.model.facts), environment_of(done))
    before, now = ({file["path"]: file["sha256"] for file in folder_manifest(at)} for at in (backend.folder, made))
    result.files = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
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
    result: Reproduction,
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
    events = _generate(backend, spec, folder, result, progress)
    result.environment["evaluation"] = changed_facts(
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
    result: Reproduction,
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
        with _timed(result, "generation"):
            return run_on_device(backend.command(path), folder / "outputs.log", on_event)
    finally:
        path.unlink(missing_ok=True)


# -- the comparison ----------------------------------------------------------------------------------------------------


def _compare(report: GateReport, rows: list[EvalOutput], result: Reproduction) -> None:
    run = report.eval_run
    stored = EvalOutput.objects.filter(eval_run=run).values_list(
        "document_id", "document__external_id", "raw", "finish_reason"
    )
    now = {row.document_id: (row.raw, row.finish_reason) for row in rows}
    result.documents = len(stored)
    result.outputs = [name for pk, name, raw, reason in stored.order_by("document_id") if now.get(pk) != (raw, reason)]
    result.rates = changed_rates(run.scores, summary.summarize_outputs(run.dataset.schema_version.compiled, rows))
    result.verdicts = _changed_verdicts(report, rows)


def _changed_verdicts(report: GateReport, rows: list[EvalOutput]) -> list[Change]:
    """Gates on answers with another verdict. Resources keep the stored requests, the regression suite its answers."""
    run, policy = report.eval_run, gates_of(report.policy)
    current = external_inputs(policy, run)
    inputs = replace(current, production=production_then(report), measurement=report.measurement)
    facts = replace(gather(run, report.baseline, inputs), outputs=rows, inapplicable=inapplicable_then(report))
    same = GateReport.objects.filter(policy=report.policy, eval_run=run, baseline=report.baseline)
    exhausted = exhausted_reason(run, policy, but=same)
    now = {
        verdict.gate.key: verdict
        for verdict in verdicts_for(policy, measure(policy, facts), report.holdout_number, exhausted=exhausted)
    }
    return [
        Change(str(row["gate"]["title"]), str(row["status"]), str(now[row["gate"]["key"]].status))
        for row in report.verdicts
        if row["status"] != now[row["gate"]["key"]].status
    ]


@contextmanager
def _timed(result: Reproduction, step: str) -> Iterator[None]:
    """Stores the seconds that a step takes."""
    began = time.monotonic()
    yield
    result.seconds[step] = round(time.monotonic() - began, 1)
