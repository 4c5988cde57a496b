"""Verifies an evidence bundle with the scorer, the gates and the statistics of the studio, and without its database.

The score of every document is counted again from its output and its gold label, the summary from these scores, and the
verdict of every gate from the documents that it counts. Taken from the bundle: which documents those are, and the price
of a request.
"""

import contextlib
import json
import math
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.gates.facts import Families, RunFacts
from evaluation.gates.manifest import report_manifest_hash
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import (
    COMPARED_WITH_BASE,
    COMPARED_WITH_DEPLOYED,
    COMPARED_WITH_PRODUCTION,
    Measurement,
    Resources,
    Source,
    SuiteAnswers,
    VerdictStatus,
)
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.verdicts import Verdict, all_passed, verdict_for
from evaluation.inference.prices import HardwarePrice
from evaluation.models import EvalOutput
from evaluation.runs.outputs import score_event
from evaluation.runs.resources import as_outputs
from evaluation.runs.summary import summarize_outputs
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.output_json import scorable_json
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.schema.dialect import identity
from slmstudio.errors import Refused
from slmstudio.storage import signatures
from slmstudio.storage.hashing import sha256_file

LIST, SIGNATURE, MANIFEST = "bundle.json", "bundle.json.sig", "manifest.json"
#: of a file of a bundle: the model that it is about -> the beginning of its name
PREFIXES = {"the model": "", "the baseline": "baseline_", "the production model": "production_"}
_FIELD = ("path", "field", "outcome", "gold", "output")
_COMPARED = ("status", "measured", "low", "high", "k", "n", "confidence", "families")
#: relative differences that come from other versions of libraries, and from microseconds
_TOLERANCE, _RESOURCE_TOLERANCE = 1e-6, 1e-5

Row = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """What was checked, and what is wrong. ``is_note``: nothing was checked, and the title says what."""

    title: str
    problems: tuple[str, ...] = ()
    is_note: bool = False


def score_line(name: str, score: Row, *, document: int, family: int | None = None, removed: bool = False) -> Row:
    """The score of a document as a line of ``documents.jsonl``."""
    return {
        "id": name,
        "document": document,
        "family": family,
        "removed": removed,
        **{key: score.get(key) for key in ("valid_json", "schema_valid", "exact", "invariants_hold")},
        "fields": [{key: field[key] for key in _FIELD} for field in score["fields"]],
        "free": [text["path"] for text in score.get("free", ())],
    }


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder of a bundle, which is a zip file or a folder."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="slm-bundle-") as folder, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
        yield Path(folder)


def verify_bundle(folder: Path, *, sha256: str = "", public_key: Path | None = None) -> Iterator[Check]:
    """The checks of a bundle; its content is not counted again where a file was changed.

    Args:
        folder: of the unpacked bundle.
        sha256: the hash of the bundle, or of its manifest, from the page of the report; "": not checked.
        public_key: PEM file of the key that bundles are signed with; None: not checked.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: the bundle cannot be read.
    """
    listed = loads((folder / LIST).read_bytes())
    checks = [
        Check("every file has its listed hash", tuple(_changed_files(folder, listed))),
        Check("the parts have the hashes of the manifest", tuple(_changed_parts(folder, listed))),
        *_origin(folder, listed, sha256, public_key),
    ]
    yield from checks
    if not any(check.problems for check in checks):
        yield from _Content(folder, listed).checks()


# -- hashes and signature ----------------------------------------------------------------------------------------------


def _sha256(path: Path) -> str:
    return sha256_file(path) if path.is_file() else ""


def _changed_files(folder: Path, listed: Row) -> Iterator[str]:
    expected = {entry["path"]: entry["sha256"] for entry in listed["files"]}
    for name, sha256 in expected.items():
        if _sha256(folder / name) != sha256:
            yield f"{name} was changed" if (folder / name).is_file() else f"{name} is missing"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(names - expected.keys() - {LIST, SIGNATURE}):
        yield f"{name} is not listed"


def _changed_parts(folder: Path, listed: Row) -> Iterator[str]:
    """The decision on the report rests on the manifest."""
    manifest = loads((folder / MANIFEST).read_bytes())
    if report_manifest_hash(manifest) != listed["manifest_sha256"]:
        yield f"{MANIFEST} is not the manifest of the report"
    for entry in listed["files"]:
        if entry["part"] and manifest.get(entry["part"]) != entry["sha256"]:
            yield f"{entry['path']} differs from the manifest ({entry['part']})"
    decision = loads((folder / "decision.json").read_bytes())
    if decision.get("manifest_sha256", listed["manifest_sha256"]) != listed["manifest_sha256"]:
        yield "the decision is about another manifest"


def _origin(folder: Path, listed: Row, sha256: str, public_key: Path | None) -> Iterator[Check]:
    """Whether the bundle is the one of the report: by its hash or its signature."""
    own = _sha256(folder / LIST)
    if sha256 == listed["manifest_sha256"]:
        yield Check("the manifest has the given hash")
        loose = [entry["path"] for entry in listed["files"] if not entry["part"] and entry["path"] != MANIFEST]
        yield Check(f"the hash of the manifest does not cover {', '.join(loose)}", is_note=True)
    elif sha256:
        yield Check("the bundle has the given hash", () if sha256 == own else (f"its hash is {own}",))
    if public_key is not None:
        problems: tuple[str, ...] = ()
        try:
            signatures.verify(folder / LIST, folder / SIGNATURE, what="the bundle", public_key=public_key)
        except Refused as refused:
            problems = (refused.message,)
        yield Check("the signature matches the given key", problems)
    elif not sha256:
        yield Check(
            f"no hash or key was given, so the origin of the bundle is not checked (its hash is {own})", is_note=True
        )


# -- scores and verdicts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scored:
    """The outputs of one model, scored again: document -> row, and document -> family where it is not alone in it."""

    rows: dict[int, EvalOutput]
    families: dict[int, int]

    @property
    def scores(self) -> dict[int, Any]:
        return {document: row.score for document, row in self.rows.items()}


class _Content:
    """The content of a bundle whose files are the listed ones."""

    def __init__(self, folder: Path, listed: Row) -> None:
        self._folder = folder
        self._listed = listed
        self._schema: CompiledSchema = compile_schema(self._json("schema.json"))
        self._labels = {str(row["id"]): row for row in self._rows("holdout.jsonl")}
        self._scored: dict[str, _Scored] = {}
        self._gates = self._json("gates.json")

    def _json(self, name: str) -> Any:
        return loads((self._folder / name).read_bytes(), max_characters=None)

    def _rows(self, name: str) -> Iterator[Row]:
        with (self._folder / name).open("rb") as file:
            for line in file:
                yield loads(line, max_characters=None)

    def _has(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def checks(self) -> Iterator[Check]:
        """The scores of each model and their sums, then the verdicts."""
        for model, prefix in PREFIXES.items():
            if self._has(f"{prefix}documents.jsonl"):
                yield self._check_scores(model, prefix)
                if len(self._scored[prefix].rows) == self._outputs_of(prefix):
                    yield self._check_summary(prefix)
        yield from self._check_verdicts()

    def _outputs_of(self, prefix: str) -> int:
        """How many outputs a model has; the production model may have been evaluated on further documents."""
        return sum(1 for _ in self._rows(f"{prefix}outputs.jsonl"))

    def _check_scores(self, model: str, prefix: str) -> Check:
        stored = {str(row["id"]): row for row in self._rows(f"{prefix}documents.jsonl") if not row["removed"]}
        scored, problems = _Scored({}, {}), []
        if prefix != "production_":  # it may have been evaluated on fewer documents
            problems += [f"{name} has no score" for name in self._labels.keys() - stored.keys()]
        scorable = scorable_json if self._listed[f"{prefix}external"] else str
        for event in map(json.loads, (self._folder / f"{prefix}outputs.jsonl").open(encoding="utf-8")):
            name = str(event["id"])
            if name not in stored:
                continue
            line = stored.pop(name)
            if name not in self._labels:
                problems.append(f"{name} has no gold label")
                continue
            document, family = int(line["document"]), line["family"]
            output = score_event(self._schema, row=self._labels[name], event=event, scorable_text=scorable)
            output.document_id, output.score = document, loads(dumps(output.score))
            scored.rows[document] = output
            if family is not None:
                scored.families[document] = int(family)
            counted = score_line(name, output.score, document=document, family=family)
            problems += [f"{name}: {problem}" for problem in differences(line, counted)]
        problems += [f"{name} has no output" for name in stored]
        self._scored[prefix] = scored
        fields = sum(len(row.score["fields"]) for row in scored.rows.values())
        title = f"scores of {model} recomputed: {len(scored.rows)} documents, {fields} values"
        return Check(title, tuple(problems))

    def _check_summary(self, prefix: str) -> Check:
        scored, name = self._scored[prefix], f"{prefix}scores.json"
        rows = [scored.rows[document] for document in sorted(scored.rows)]
        counted = loads(dumps(summarize_outputs(self._schema, rows, scored.families)))
        return Check(f"{name} is the sum of the documents", tuple(differences(self._json(name), counted)))

    def _check_verdicts(self) -> Iterator[Check]:
        verdicts, passed = json.loads((self._folder / "verdicts.json").read_text(encoding="utf-8"))
        policy = GateSet.from_json(self._json("policy.json"))
        stored = [Verdict.from_dict(verdict) for verdict in verdicts]
        own, gates = {verdict.gate.key: verdict.gate for verdict in stored}, {gate.key: gate for gate in policy}
        problems = [f"the gate {key} has no verdict" for key in gates.keys() - own.keys()]
        problems += [f"the gate {key} differs from the policy" for key in own if own[key] != gates.get(key)]
        yield Check(f"the verdicts cover the {len(gates)} gates of the policy", tuple(problems))
        for verdict in stored:
            yield self._check_verdict(verdict, is_single=policy.single_evaluation)
        expected = all_passed(stored)
        yield Check("the result follows from the verdicts", () if passed == expected else ("the result differs",))

    def _check_verdict(self, verdict: Verdict, *, is_single: bool) -> Check:
        gate = verdict.gate
        title = f"{verdict.status}: {gate.title}"
        if verdict.measured is None:
            is_alone = gate.compared_with == COMPARED_WITH_PRODUCTION and "production_" not in self._scored
            if gate.compared_with in (COMPARED_WITH_BASE, COMPARED_WITH_DEPLOYED):
                is_alone = "baseline_" not in self._scored and self._is_of_encoder()
            allowed = (
                (VerdictStatus.NOT_PROVEN, VerdictStatus.INAPPLICABLE) if is_alone else (VerdictStatus.NOT_PROVEN,)
            )
            problem = "nothing was measured, so the verdict must be NOT PROVEN"
            return Check(f"{title} (nothing was measured)", () if verdict.status in allowed else (problem,))
        is_cost = gate.metric == "cost_per_request"
        if is_cost and self._listed["external"]:
            return Check(f"{title} (taken from the bundle: the price of tokens is not in it)", is_note=True)
        measurement = self._measurement(gate)
        if is_cost:
            measurement = _at_mean(measurement, verdict.measured)
        number = None if is_single else int(self._gates["number"])
        counted = verdict_for(gate, measurement, number).as_dict()
        of_resources = METRICS[gate.metric].source is Source.RESOURCES
        claims = {name: verdict.as_dict()[name] for name in _COMPARED}
        problems = differences(
            claims, {name: counted[name] for name in _COMPARED},
            tolerance=_RESOURCE_TOLERANCE if of_resources else _TOLERANCE,
        )  # fmt: skip
        how = "recomputed at the stored mean" if is_cost else "recomputed"
        return Check(f"{title} ({how})", tuple(problems))

    def _is_of_encoder(self) -> bool:
        """Whether the model was trained from an encoder, which cannot be compared with its base model."""
        path = self._folder / "provenance.json"
        provenance = self._json(path.name) if path.is_file() else {}
        return bool(provenance.get("base_model", {}).get("family") == "encoder")

    def _measurement(self, gate: Gate) -> Measurement:
        """What a gate counts in the documents that the bundle names for it."""
        inputs, resources = self._gates["gates"][gate.key], self._gates["resources"]
        scored, baseline = self._scored[""], self._scored.get("baseline_")
        production, requests = self._scored.get("production_"), self._requests()
        lines = {str(row["id"]): row for row in self._rows("documents.jsonl")}
        documents = [int(lines[name]["document"]) for name in inputs["documents"]]
        removed = [lines[name] for name in inputs["removed"]]
        facts = RunFacts(
            outputs=[scored.rows[document] for document in documents],
            requests=[requests[document] for document in documents if document in requests],
            resources=Resources(
                facts={"peak_memory_bytes": resources["peak_memory_bytes"]},
                is_fresh=resources["is_fresh"],
                time_share=float(resources["time_share"]),
                price=HardwarePrice(1.0),
            ),
            removed=[EvalOutput(document_id=int(row["document"]), score=row) for row in removed],
            families=Families(of=scored.families if inputs["by_family"] else {}),
            suite=self._suite(),
            baseline=baseline.scores if baseline is not None else None,
            production_scores=production.scores if production is not None else None,
        )
        return facts.measure(replace(gate, slice=""))

    def _requests(self) -> dict[int, EvalOutput]:
        """What each request took, by the newest measurement or by the evaluation itself."""
        if not self._has("measurement.json"):
            return self._scored[""].rows
        names = ("document", "latency_ms", "prompt_tokens", "output_tokens", "finish_reason")
        rows = [dict(zip(names, row, strict=True)) for row in self._json("measurement.json")]
        requests = [{**row, "latency_ms": float(row["latency_ms"]) / 1000} for row in rows]
        return {row.document_id: row for row in as_outputs(requests)}

    def _suite(self) -> SuiteAnswers:
        if not self._has("pins.json"):
            return SuiteAnswers()
        suite = self._json("pins.json")
        return SuiteAnswers(int(suite["pinned"]), {int(key): right for key, right in suite["right"].items()})


def _at_mean(measurement: Measurement, mean: float) -> Measurement:
    """The times of requests as costs: what a second costs follows from the stored mean."""
    total = math.fsum(measurement.values)
    scale = mean * len(measurement.values) / total if total else 1.0
    return replace(measurement, values=tuple(scale * value for value in measurement.values))


def differences(stored: Any, counted: Any, place: str = "", *, tolerance: float = _TOLERANCE) -> Iterator[str]:
    """Where a stored value differs from the counted one. Numbers may differ by the relative ``tolerance``."""
    if isinstance(stored, dict) and isinstance(counted, dict):
        for key in dict.fromkeys([*stored, *counted]):
            inner = f"{place}.{key}" if place else str(key)
            yield from differences(stored.get(key), counted.get(key), inner, tolerance=tolerance)
    elif _is_sequence(stored) and _is_sequence(counted) and len(stored) == len(counted):
        for at, (old, new) in enumerate(zip(stored, counted, strict=True)):
            yield from differences(old, new, f"{place}[{at}]", tolerance=tolerance)
    elif identity(stored) != identity(counted) and not _is_near(stored, counted, tolerance):
        yield f"{place} is {_shown(counted)}, the bundle has {_shown(stored)}"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_near(stored: Any, counted: Any, tolerance: float) -> bool:
    if any(isinstance(value, bool | str | None) or _is_sequence(value) for value in (stored, counted)):
        return False
    return math.isclose(float(stored), float(counted), rel_tol=tolerance, abs_tol=tolerance / 1000)


def _shown(value: Any) -> str:
    text = dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
