"""The packet of hashes that a decision rests on, and the check of it against what lies on the disk now."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.core.cache import cache

from evaluation.gates.facts import pinned_answers
from evaluation.gates.policy.definition import GatePolicy
from evaluation.gates.policy.services import policy_hash, rules
from evaluation.inference.backend import ModelUnavailable
from evaluation.models import EvalRun, GateReport
from evaluation.runs import outputs, resources
from labeling.datasets import queries as dataset_queries
from labeling.models import Split
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.scoring.scorer import SCORER_VERSION
from slmstudio.runs.plain_paths import redact_paths
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file, sha256_text

Packet = dict[str, str]
_WEEK = 7 * 24 * 3600

#: name -> title, and of what the hash is
PARTS = {
    "model": ("Model", "the folder with the weights"),
    "file": ("Model file", "the GGUF file that llama.cpp answered with"),
    "endpoint": ("Model elsewhere", "the address and the name it was asked by; its weights are out of reach"),
    "tokenizer": ("Tokenizer", "its tokenizer.json"),
    "dataset": ("Dataset version", "the file with every row"),
    "holdout": ("Hold-out", "the hold-out rows of that file"),
    "schema": ("Schema", "the text of the schema version"),
    "scorer": ("Scorer", "version"),
    "policy": ("Gate policy", "the gates with their thresholds"),
    "spec": ("Evaluation", "what the model was told: prompt, examples, decoding"),
    "outputs": ("Outputs", "the file of raw outputs, held against the stored rows"),
    "scores": ("Scores", "counted again from the stored outputs"),
    "baseline": ("Baseline", "the file of the baseline's raw outputs"),
    "baseline_scores": ("Baseline scores", "counted again from its stored outputs"),
    "measurement": ("Measurement", "what each request took when latency, cost and memory were measured again"),
    "pins": ("Regression suite", "the pinned documents, and which of them this model has right"),
    "verdicts": ("Verdicts", "what every gate says, and whether the model may ship"),
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


def packet(report: GateReport) -> Packet:
    """The hashes by name that freeze what a report judged, and what it says.

    Of the weights it is the hash that was checked before they were run, whatever the model's row has come to say since.
    """
    eval_run, baseline = report.eval_run, report.baseline
    found = {
        **eval_run.backend.identity(eval_run),
        "dataset": eval_run.dataset.sha256,
        "holdout": eval_run.dataset.holdout_sha256,
        "schema": eval_run.dataset.schema_version.sha256,
        "scorer": eval_run.scorer_version,
        "policy": report.policy.sha256,
        "outputs": eval_run.outputs_sha256,
        "scores": scores_hash(eval_run.scores),
        "verdicts": verdicts_hash(report),
    }
    if eval_run.spec or eval_run.backend.is_external:
        found["spec"] = eval_run.backend.spec_hash(eval_run)
    if baseline is not None:
        found |= {"baseline": baseline.outputs_sha256, "baseline_scores": scores_hash(baseline.scores)}
    if report.measurement is not None:
        found["measurement"] = report.measurement.sha256
    if asks_about_pins(rules(report.policy)):
        found["pins"] = report.pins_sha256 or pins_hash(eval_run)
    return found


def asks_about_pins(policy: GatePolicy) -> bool:
    """Whether a gate of a policy is about pinned documents."""
    return any(gate.metric == "pinned_broken" for gate in policy)


def pins_hash(run: EvalRun) -> str:
    """SHA-256 over the pinned documents and what this model makes of each."""
    pinned, found = pinned_answers(run)
    return scores_hash({"pinned": pinned, "right": {str(key): exact for key, exact in found.items()}})


def packet_hash(value: Packet) -> str:
    """One hash for a packet, whatever the order of its parts."""
    return sha256_text(dumps({name: value[name] for name in sorted(value)}))


def scores_hash(scores: object) -> str:
    """SHA-256 of a summary of scores, whatever the order of its keys."""
    return sha256_text(dumps(_sorted(scores)))


def verdicts_hash(report: GateReport) -> str:
    """SHA-256 of what a report says; a number is the same however the database writes it."""
    return scores_hash(_as_floats([report.verdicts, report.passed]))


def _as_floats(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
        except (OSError, ModelUnavailable, outputs.InvalidOutputs, ValueError, KeyError) as error:
            checks.append(Check(name, report.packet[name], "", _why(error)))
    return checks


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file has gone."
    return (
        str(error)
        if isinstance(error, ModelUnavailable | outputs.InvalidOutputs)
        else f"it cannot be read ({redact_paths(str(error))})."
    )


def _from_rows(report: GateReport) -> dict[str, Callable[[], str]]:
    """What the rows say of themselves. Of a base model's tokenizer no row says anything."""
    run, baseline = report.eval_run, report.baseline
    said = {
        **run.backend.current_identity(),
        "dataset": run.dataset.sha256,
        "holdout": run.dataset.holdout_sha256,
        "schema": run.dataset.schema_version.sha256,
        "scorer": run.scorer_version,
        "policy": report.policy.sha256,
        "spec": run.backend.spec_hash(run),
        "outputs": run.outputs_sha256,
        "scores": scores_hash(run.scores),
        "baseline": baseline.outputs_sha256 if baseline is not None else "",
        "baseline_scores": scores_hash(baseline.scores) if baseline is not None else "",
        "verdicts": verdicts_hash(report),
    }
    if "pins" in report.packet:
        said["pins"] = pins_hash(run)
    if report.measurement is not None:
        said["measurement"] = report.measurement.sha256
    return {name: partial(str, value) for name, value in said.items()}


def _from_files(report: GateReport, *, touched_since: float | None = None) -> dict[str, Callable[[], str]]:
    """What the files say; with ``touched_since`` only those that are gone or were written after this moment."""
    run, baseline = report.eval_run, report.baseline
    outputs_file = artifacts.local_path(run.outputs_key)
    dataset_file = artifacts.local_path(run.dataset.artifact_key)
    found: list[tuple[str, Path, Callable[[], str]]] = [
        *run.backend.files(),
        ("dataset", dataset_file, lambda: sha256_file(dataset_queries.file_path(run.dataset))),
        ("holdout", dataset_file, lambda: _holdout_hash(run)),
        ("outputs", outputs_file, lambda: _outputs_hash(run)),
    ]
    if not run.backend.is_external:
        found.append(("spec", _spec_file(run), lambda: _spec_hash(run)))
    if baseline is not None:
        found.append(("baseline", artifacts.local_path(baseline.outputs_key), lambda: _outputs_hash(baseline)))
    if touched_since is not None:
        return {name: partial(_kept, name, path, make) for name, path, make in found if _touched(path, touched_since)}
    more: dict[str, Callable[[], str]] = {}
    if run.backend.is_external:
        more = {name: partial(str, value) for name, value in run.backend.current_identity().items()}
        more["spec"] = lambda: run.backend.spec_hash(run)
    if baseline is not None:
        more["baseline_scores"] = lambda: scores_hash(outputs.recompute_summary(baseline))
    if "pins" in report.packet:
        more["pins"] = lambda: pins_hash(run)
    measurement = report.measurement
    if measurement is not None:
        more["measurement"] = lambda: resources.requests_hash(measurement.requests)
    return {
        **{name: make for name, _, make in found},
        **more,
        "schema": lambda: run.dataset.schema_version.compiled.hash,
        "scorer": lambda: SCORER_VERSION,
        "policy": lambda: policy_hash(rules(report.policy)),
        "scores": lambda: scores_hash(outputs.recompute_summary(run)),
        "verdicts": lambda: verdicts_hash(report),
    }


def _spec_file(run: EvalRun) -> Path:
    """Where the spec lies that a run's outputs were made by: of outputs that were scored again, with the first run."""
    path = artifacts.local_path(run.spec_key)
    return path if run.rescored_from is None or path.exists() else _spec_file(run.rescored_from)


def _touched(path: Path, since: float) -> bool:
    """Whether a file, or anything in a folder, is gone or was touched after a moment."""
    try:
        return _changed_at(path.stat()) > since or (
            path.is_dir() and any(_changed_at(one.lstat()) > since for one in path.rglob("*"))
        )
    except OSError:
        return True


def _kept(name: str, path: Path, make: Callable[[], str]) -> str:
    """The hash of files that were touched since a report was made, as it was found when they were read last: a restored
    backup is read once, and not with every page."""
    if not path.exists():
        return make()  # which says what has gone
    places = sorted([path, *path.rglob("*")]) if path.is_dir() else [path]
    marks = [(str(one), *_mark(one.lstat() if one != path else one.stat())) for one in places]
    key = f"evaluation:packet:{name}:{sha256_text(dumps(marks))}"
    found: str | None = cache.get(key)
    if found is None:
        found = make()
        cache.set(key, found, _WEEK)
    return found


def _mark(stat: os.stat_result) -> tuple[int, int, int, int]:
    """What of a file changes whenever somebody writes it."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _changed_at(stat: os.stat_result) -> float:
    """When a file was last touched. Whoever writes a file can set back its time of writing, but not that of change."""
    return max(stat.st_mtime, stat.st_ctime)


def _holdout_hash(run: EvalRun) -> str:
    """SHA-256 over the lines of the hold-out, as they stand in the file."""
    found = hashlib.sha256()
    with dataset_queries.file_path(run.dataset).open("rb") as file:
        for line in file:
            if loads(line, max_characters=None)["split"] == Split.HOLDOUT:
                found.update(line)
    return found.hexdigest()


def _spec_hash(run: EvalRun) -> str:
    found = sha256_file(_spec_file(run))
    if found != sha256_text(run.spec):
        raise outputs.InvalidOutputs("the stored text is not what the file says.")
    return found


def _outputs_hash(run: EvalRun) -> str:
    found = sha256_file(artifacts.local_path(run.outputs_key))
    if found == run.outputs_sha256 and not outputs.rows_match_file(run):
        raise outputs.InvalidOutputs("the stored rows do not say what the file says.")
    return found
