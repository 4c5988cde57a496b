"""The packet of hashes that a decision rests on, and the check of it against what lies on the disk now."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from evaluation.models import EvalRun, GatePolicy, GateReport
from evaluation.services import outputs
from evaluation.services.policies import policy_hash, rules
from evaluation.services.subjects import SubjectError, model_folder, subject
from labeling.models import Split
from labeling.services import datasets
from slmstudio import artifacts
from slmstudio.contract.jsontext import dumps, loads
from slmstudio.contract.scoring import SCORER_VERSION
from slmstudio.hashing import folder_hash, sha256_file, sha256_text

Packet = dict[str, str]

#: name -> title, and of what the hash is
PARTS = {
    "model": ("Model", "the folder with the weights"),
    "tokenizer": ("Tokenizer", "its tokenizer.json"),
    "dataset": ("Dataset version", "the file with every row"),
    "holdout": ("Hold-out", "the hold-out rows of that file"),
    "schema": ("Schema", "the text of the schema version"),
    "scorer": ("Scorer", "version"),
    "policy": ("Gate policy", "the gates with their thresholds"),
    "outputs": ("Outputs", "the file of raw outputs, held against the stored rows"),
    "scores": ("Scores", "counted again from the stored outputs"),
    "baseline": ("Baseline", "the file of the baseline's raw outputs"),
}


@dataclass(frozen=True)
class Check:
    """One line of a packet: the hash that was frozen, and the hash of what is there now ("" where nothing is)."""

    name: str
    frozen: str
    now: str
    problem: str = ""

    @property
    def title(self) -> str:
        """The part's name, in words."""
        return PARTS[self.name][0]

    @property
    def of(self) -> str:
        """What the hash is of."""
        return PARTS[self.name][1]

    @property
    def equal(self) -> bool:
        """Whether what is there now is what was frozen."""
        return self.frozen == self.now and not self.problem

    @property
    def sentence(self) -> str:
        """What is wrong, as a sentence; "" where nothing is."""
        if self.equal:
            return ""
        if self.problem:
            return f"{self.title}: {self.problem}"
        return f"{self.title}: the hash of {self.of} is now {self.now[:12]}; it was {self.frozen[:12]}."


def packet(*, eval_run: EvalRun, baseline: EvalRun | None, policy: GatePolicy) -> Packet:
    """The hashes by name that freeze what a report judged."""
    model = subject(eval_run)
    found = {
        "model": model.sha256,
        "tokenizer": model.tokenizer_sha256,
        "dataset": eval_run.dataset.sha256,
        "holdout": eval_run.dataset.holdout_sha256,
        "schema": eval_run.dataset.schema_version.sha256,
        "scorer": eval_run.scorer_version,
        "policy": policy.sha256,
        "outputs": eval_run.outputs_sha256,
        "scores": scores_hash(eval_run.scores),
    }
    return {**found, "baseline": baseline.outputs_sha256} if baseline else found


def packet_hash(value: Packet) -> str:
    """One hash for a packet, whatever the order of its parts."""
    return sha256_text(dumps({name: value[name] for name in sorted(value)}))


def scores_hash(scores: object) -> str:
    """SHA-256 of a summary of scores, whatever the order of its keys."""
    return sha256_text(dumps(_sorted(scores)))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def verify(report: GateReport, *, files: bool = True) -> list[Check]:
    """Every part of a report's packet beside what is there now.

    With ``files`` the hashes are made anew from the files on the disk and the outputs are scored again: about a second
    for each half gigabyte of weights. Without, a file is only read where it was touched since the report was made, and
    for the rest the rows are taken at their word.
    """
    now = _from_files(report)
    if not files:
        now = {**_from_rows(report), **_from_files(report, touched_since=report.created_at.timestamp())}
    checks = []
    for name in PARTS:
        if name not in report.packet or name not in now:
            continue
        try:
            checks.append(Check(name, report.packet[name], now[name]()))
        except (OSError, SubjectError, outputs.OutputError, ValueError, KeyError) as error:
            checks.append(Check(name, report.packet[name], "", _why(error)))
    return checks


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file has gone."
    return str(error) if isinstance(error, SubjectError | outputs.OutputError) else f"it cannot be read ({error})."


def _from_rows(report: GateReport) -> dict[str, Callable[[], str]]:
    """What the rows say of themselves. Of a base model's tokenizer no row says anything."""
    run, version, baseline = report.eval_run, report.eval_run.model_version, report.baseline
    model = run.base_model or version
    said = {
        "model": model.sha256 if model is not None else "",
        "dataset": run.dataset.sha256,
        "holdout": run.dataset.holdout_sha256,
        "schema": run.dataset.schema_version.sha256,
        "scorer": run.scorer_version,
        "policy": report.policy.sha256,
        "outputs": run.outputs_sha256,
        "scores": scores_hash(run.scores),
        "baseline": baseline.outputs_sha256 if baseline is not None else "",
    }
    if version is not None and version.tokenizer_sha256:
        said["tokenizer"] = version.tokenizer_sha256
    return {name: partial(str, value) for name, value in said.items()}


def _from_files(report: GateReport, *, touched_since: float | None = None) -> dict[str, Callable[[], str]]:
    """What the files say; with ``touched_since`` only those that are gone or were written after this moment."""
    run = report.eval_run
    outputs_file = artifacts.local_path(run.outputs_key)
    dataset_file = artifacts.local_path(run.dataset.artifact_key)
    weights = model_folder(run)
    found: list[tuple[str, Path, Callable[[], str]]] = [
        ("model", weights, lambda: folder_hash(_present(weights))),
        ("tokenizer", weights / "tokenizer.json", lambda: sha256_file(weights / "tokenizer.json")),
        ("dataset", dataset_file, lambda: sha256_file(datasets.file_path(run.dataset))),
        ("holdout", dataset_file, lambda: _holdout_hash(run)),
        ("outputs", outputs_file, lambda: _outputs_hash(run)),
    ]
    if report.baseline is not None:
        baseline_file = artifacts.local_path(report.baseline.outputs_key)
        found.append(("baseline", baseline_file, lambda: _outputs_hash(report.baseline)))
    if touched_since is not None:
        return {name: make for name, path, make in found if _touched(path, touched_since)}
    return {
        **{name: make for name, _, make in found},
        "schema": lambda: run.dataset.schema_version.compiled.hash,
        "scorer": lambda: SCORER_VERSION,
        "policy": lambda: policy_hash(rules(report.policy)),
        "scores": lambda: scores_hash(outputs.recount(run)),
    }


def _touched(path: Path, since: float) -> bool:
    """Whether a file, or anything in a folder, is gone or was written after a moment."""
    try:
        if path.stat().st_mtime > since:
            return True
        return path.is_dir() and any(one.lstat().st_mtime > since for one in path.rglob("*"))
    except OSError:
        return True


def _present(folder: Path) -> Path:
    if not folder.is_dir():
        raise SubjectError("the folder with the weights has gone.")
    return folder


def _holdout_hash(run: EvalRun) -> str:
    """SHA-256 over the lines of the hold-out, as they stand in the file."""
    found = hashlib.sha256()
    with datasets.file_path(run.dataset).open("rb") as file:
        for line in file:
            if loads(line, max_characters=None)["split"] == Split.HOLDOUT:
                found.update(line)
    return found.hexdigest()


def _outputs_hash(run: EvalRun | None) -> str:
    assert run is not None
    found = sha256_file(artifacts.local_path(run.outputs_key))
    if not outputs.rows_match_file(run):
        raise outputs.OutputError("the stored rows do not say what the file says.")
    return found
