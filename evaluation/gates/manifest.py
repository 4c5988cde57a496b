"""The manifest of a gate report: hashes of everything that a decision depends on, and their verification."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.core.cache import caches

from evaluation.gates.facts import suite_answers, tests_source
from evaluation.gates.metrics.metric import Source, SuiteAnswers
from evaluation.gates.policy.services import gates_of, policy_hash
from evaluation.inference.backend import ModelUnavailable
from evaluation.models import EvalRun, GateReport
from evaluation.runs import outputs, resources, summary
from labeling.datasets import queries as dataset_queries
from labeling.documents.erasure import frozen_sha256
from labeling.models import DatasetVersion, Split
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.scoring.scorer import SCORER_VERSION
from slmstudio.runs.application import scorer_code
from slmstudio.runs.path_redaction import redact_paths
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file, sha256_text

Manifest = dict[str, str]
_WEEK = 7 * 24 * 3600

#: name, as stored -> title, and what the hash is of
ENTRIES = {
    "model": ("Model", "the folder with the weights"),
    "file": ("Model file", "the GGUF file that llama.cpp answered with"),
    "endpoint": ("External model", "its URL and model name; the weights are not available"),
    "tokenizer": ("Tokenizer", "its tokenizer.json"),
    "dataset": ("Dataset version", "the file with every row"),
    "holdout": ("Hold-out", "the hold-out rows of that file"),
    "schema": ("Schema", "the text of the schema version"),
    "scorer": ("Scorer", "version"),
    "policy": ("Gate policy", "the gates with their thresholds"),
    "spec": ("Evaluation", "prompt, few-shot examples and decoding"),
    "outputs": ("Outputs", "the file of raw outputs, compared with the stored rows"),
    "scores": ("Scores", "computed from the stored outputs"),
    "baseline": ("Baseline", "the file of the baseline's raw outputs"),
    "baseline_scores": ("Baseline scores", "computed from its stored outputs"),
    "production": ("Production model", "the file of raw outputs of the production model"),
    "production_scores": ("Production scores", "computed from its stored outputs"),
    "production_facts": ("Production facts", "identity of the model, with cost, latency and hardware of both models"),
    "measurement": ("Measurement", "latency of each request in the newest resource measurement"),
    "pins": ("Regression suite", "the pinned documents, and which of them this model gets right"),
    "provenance": ("Provenance", "versions, environments and constants of training and evaluation"),
    "verdicts": ("Verdicts", "the verdict of each gate, and the result"),
}


@dataclass(frozen=True)
class ManifestCheck:
    """A manifest entry: the frozen hash, and the current one ("" where the input is missing)."""

    name: str
    frozen: str
    now: str
    problem: str = ""

    @property
    def title(self) -> str:
        """The title of the entry."""
        return ENTRIES[self.name][0]

    @property
    def of(self) -> str:
        """What the hash is of."""
        return ENTRIES[self.name][1]

    @property
    def equal(self) -> bool:
        """Whether the input is unchanged."""
        return self.frozen == self.now and not self.problem

    @property
    def sentence(self) -> str:
        """The difference as a sentence; "" where there is none."""
        if self.equal:
            return ""
        if self.problem:
            return f"{self.title}: {self.problem}"
        return f"{self.title}: the hash of {self.of} changed from {self.frozen[:12]} to {self.now[:12] or 'none'}."


def build_manifest(report: GateReport) -> Manifest:
    """The hashes of the inputs of a report and of its verdicts, by name.

    The hash of the weights is the one that was verified before they ran, not that of the model's current row.
    """
    run = report.eval_run
    entries = {**_row_hashes(report), **run.backend.identity(run)}
    if tests_source(gates_of(report.policy), Source.REGRESSION_SUITE):
        entries["pins"] = report.suite_sha256 or suite_hash(suite_answers(run))
    return entries


def _row_hashes(report: GateReport) -> Manifest:
    """The hashes of a report as rows of the database have them now. No row has that of a base model's tokenizer."""
    run, baseline, other = report.eval_run, report.baseline, report.production_run
    hashes = {
        **run.backend.current_identity(),
        "dataset": run.dataset.sha256,
        "holdout": run.dataset.holdout_sha256,
        "schema": run.dataset.schema_version.sha256,
        "scorer": run.scorer_version,
        "policy": report.policy.sha256,
        "outputs": run.outputs_sha256,
        "scores": scores_hash(run.scores),
        "verdicts": verdicts_hash(report),
    }
    if run.spec or run.backend.is_external:
        hashes["spec"] = run.backend.spec_hash(run)
    if baseline is not None:
        hashes |= {"baseline": baseline.outputs_sha256, "baseline_scores": scores_hash(baseline.scores)}
    if other is not None:
        hashes |= {"production": other.outputs_sha256, "production_scores": scores_hash(other.scores)}
        hashes["production_facts"] = facts_hash(report.production)
    if report.measurement is not None:
        hashes["measurement"] = report.measurement.sha256
    if report.provenance:
        hashes["provenance"] = facts_hash(report.provenance)
    return hashes


def suite_hash(suite: SuiteAnswers) -> str:
    """SHA-256 of ``suite_text``."""
    return sha256_text(suite_text(suite))


def suite_text(suite: SuiteAnswers) -> str:
    """The pinned documents and which of them a model gets right, as JSON."""
    return scores_text({"pinned": suite.pinned, "right": {str(key): exact for key, exact in suite.right.items()}})


def report_manifest_hash(manifest: Manifest) -> str:
    """One hash of a manifest, independent of the order of its entries."""
    return sha256_text(scores_text(manifest))


def scores_hash(scores: object) -> str:
    """SHA-256 of a summary of scores, independent of the order of its keys."""
    return sha256_text(scores_text(scores))


def scores_text(scores: object) -> str:
    """The JSON that is hashed: names are sorted."""
    return dumps(_sorted(scores))


def verdicts_hash(report: GateReport) -> str:
    """SHA-256 of ``verdicts_text``."""
    return sha256_text(verdicts_text(report))


def verdicts_text(report: GateReport) -> str:
    """The verdicts of a report and its result, as JSON."""
    return facts_text([report.verdicts, report.passed])


def facts_hash(facts: object) -> str:
    """SHA-256 of ``facts_text``."""
    return sha256_text(facts_text(facts))


def facts_text(facts: object) -> str:
    """Stored facts as JSON; numbers are normalized, as the database may write 1.0 as 1."""
    return scores_text(_normalized_numbers(facts))


def _normalized_numbers(value: object) -> object:
    if isinstance(value, dict):
        return {key: _normalized_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normalized_numbers(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def verify(report: GateReport, *, files: bool = True) -> list[ManifestCheck]:
    """Compares every manifest entry of a report with its current input.

    With ``files`` hashes are computed from the files and scores from the outputs: about a second for half a gigabyte of
    weights. Without, only files that were modified since the report was created are read, and the hashes of the
    others are those of their rows. Scores are also computed again, once, where the code of the scorer has changed.
    """
    now: dict[str, Callable[[], str]] = {name: partial(str, value) for name, value in _row_hashes(report).items()}
    if "pins" in report.manifest:
        now["pins"] = lambda: suite_hash(suite_answers(report.eval_run))
    computed = _recomputed(report)
    if files:
        now |= {**_file_hashes(report), **computed}
    else:
        now |= _file_hashes(report, modified_since=report.created_at.timestamp())
        if _scorer_changed(report) and report.manifest["scores"] == now["scores"]():
            now["scores"] = partial(_cached, f"{report.pk}:{scorer_code()}", "scores", computed["scores"])
    checks = []
    for name in ENTRIES:
        if name not in report.manifest or (name == "tokenizer" and name not in now):
            continue
        try:
            checks.append(ManifestCheck(name, report.manifest[name], now[name]() if name in now else ""))
        except (OSError, ModelUnavailable, outputs.InvalidOutputs, ValueError, KeyError) as error:
            checks.append(ManifestCheck(name, report.manifest[name], "", _error_message(error)))
    return checks


def _scorer_changed(report: GateReport) -> bool:
    """Whether the scorer has another code than the one that the report recorded, under the same version."""
    code = (report.provenance.get("report") or {}).get("scorer_code")
    return bool(code) and code != scorer_code() and report.manifest["scorer"] == SCORER_VERSION


def _error_message(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is missing."
    return (
        str(error)
        if isinstance(error, ModelUnavailable | outputs.InvalidOutputs)
        else f"it cannot be read ({redact_paths(str(error))})."
    )


def _file_hashes(report: GateReport, *, modified_since: float | None = None) -> dict[str, Callable[[], str]]:
    """The hashes of files; with ``modified_since`` only of files that are missing or were modified after it."""
    run = report.eval_run
    dataset_file = artifacts.local_path(run.dataset.artifact_key)
    files: list[tuple[str, Path, Callable[[], str]]] = [
        *run.backend.files(),
        ("dataset", dataset_file, partial(_dataset_hash, run.dataset)),
        ("holdout", dataset_file, lambda: _holdout_hash(run)),
    ]
    if not run.backend.is_external:
        files.append(("spec", _spec_file(run), lambda: _spec_hash(run)))
    for name, answered in (("outputs", run), ("baseline", report.baseline), ("production", report.production_run)):
        if answered is not None:
            files.append((name, artifacts.local_path(answered.outputs_key), partial(_outputs_hash, answered)))
    if modified_since is None:
        return {name: make for name, _, make in files}
    changed = [row for row in files if _modified_since(row[1], modified_since)]
    return {name: partial(_cached_hash, name, path, make) for name, path, make in changed}


def _recomputed(report: GateReport) -> dict[str, Callable[[], str]]:
    """The hashes of what is computed again: scores from outputs, and texts from their parsed form."""
    hashes: dict[str, Callable[[], str]] = {
        "schema": lambda: report.eval_run.dataset.schema_version.compiled.hash,
        "scorer": lambda: SCORER_VERSION,
        "policy": lambda: policy_hash(gates_of(report.policy)),
        "scores": partial(_summary_hash, report.eval_run),
    }
    if report.baseline is not None:
        hashes["baseline_scores"] = partial(_summary_hash, report.baseline)
    if report.production_run is not None:
        hashes["production_scores"] = partial(_summary_hash, report.production_run)
    if (measurement := report.measurement) is not None:
        hashes["measurement"] = lambda: resources.requests_hash(measurement.requests)
    return hashes


def _summary_hash(run: EvalRun) -> str:
    return scores_hash(summary.recompute_summary(run))


def _spec_file(run: EvalRun) -> Path:
    """The path of the spec that generated the outputs of a run; a re-scoring has that of its source."""
    path = artifacts.local_path(run.spec_key)
    return path if run.rescored_from is None or path.exists() else _spec_file(run.rescored_from)


def _modified_since(path: Path, since: float) -> bool:
    """Whether a file, or anything in a folder, is missing or was modified after a moment."""
    try:
        return _changed_at(path.stat()) > since or (
            path.is_dir() and any(_changed_at(file.lstat()) > since for file in path.rglob("*"))
        )
    except OSError:
        return True


def _cached_hash(name: str, path: Path, make: Callable[[], str]) -> str:
    """The hash of files that were modified since a report was created, cached until they change again: a restored
    backup is read once, not for every page."""
    if not path.exists():
        return make()  # raises the error for the missing file
    places = sorted([path, *path.rglob("*")]) if path.is_dir() else [path]
    marks = [(str(place), *_file_stamp(place.lstat() if place != path else place.stat())) for place in places]
    return _cached(sha256_text(dumps(marks)), name, make)


def _cached(mark: str, name: str, make: Callable[[], str]) -> str:
    key = f"evaluation:manifest:{name}:{mark}"
    value: str | None = caches["process"].get(key)
    if value is None:
        value = make()
        caches["process"].set(key, value, _WEEK)
    return value


def _file_stamp(stat: os.stat_result) -> tuple[int, int, int, int]:
    """What changes whenever a file is written."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _changed_at(stat: os.stat_result) -> float:
    """When a file was last changed. Its modification time can be set back, its change time cannot."""
    return max(stat.st_mtime, stat.st_ctime)


def _dataset_hash(dataset: DatasetVersion) -> str:
    return frozen_sha256(dataset.artifact_key, sha256_file(dataset_queries.file_path(dataset)))


def _holdout_hash(run: EvalRun) -> str:
    """SHA-256 over the lines of the hold-out in the file; the frozen one if only an erasure has changed the file."""
    if _dataset_hash(run.dataset) != sha256_file(dataset_queries.file_path(run.dataset)):
        return run.dataset.holdout_sha256
    digest = hashlib.sha256()
    with dataset_queries.file_path(run.dataset).open("rb") as file:
        for line in file:
            if loads(line, max_characters=None)["split"] == Split.HOLDOUT:
                digest.update(line)
    return digest.hexdigest()


def _spec_hash(run: EvalRun) -> str:
    digest = sha256_file(_spec_file(run))
    if digest != sha256_text(run.spec):
        raise outputs.InvalidOutputs("the stored text differs from the file.")
    return frozen_sha256(run.spec_key, digest)


def _outputs_hash(run: EvalRun) -> str:
    digest = frozen_sha256(run.outputs_key, sha256_file(artifacts.local_path(run.outputs_key)))
    if digest == run.outputs_sha256 and not outputs.rows_match_file(run):
        raise outputs.InvalidOutputs("the stored rows differ from the file.")
    return digest
