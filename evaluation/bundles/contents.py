"""The files of an evidence bundle: those that the manifest of the report has hashes of, and what a check needs.

``bundle.json`` lists every file with its hash, so one hash, or one signature, covers the bundle.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.core.cache import caches

from evaluation.bundles.verification import LIST, score_line
from evaluation.gates import manifest
from evaluation.gates.facts import external_inputs, gather, suite_answers
from evaluation.gates.policy.services import gates_of
from evaluation.gates.production import common_scores, production_then
from evaluation.models import EvalOutput, EvalRun, GateReport
from evaluation.runs import resources
from labeling.datasets import queries as dataset_queries
from labeling.datasets.families import families_of
from labeling.models import Split
from slmstudio.contract.json_text import dumps, loads
from slmstudio.runs.application import application
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_text

_WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class BundleFile:
    """A file of a bundle. ``part``: the entry of the manifest that is its hash; "" where it has none.

    ``read``: its content in pieces, read when it is written.
    """

    path: str
    sha256: str
    read: Callable[[], Iterable[bytes]]
    part: str = ""


def _text_file(path: str, text: str, part: str = "") -> BundleFile:
    return BundleFile(path, sha256_text(text), lambda: [text.encode()], part)


def bundle_files(report: GateReport) -> list[BundleFile]:
    """Every file of the bundle of a report of ``GateReport.objects.with_content``, ``bundle.json`` last."""
    files = [*_parts(report), *_evidence(report), _text_file("README.md", _readme(report))]
    listed = {
        "version": 2,
        "project": report.project.slug,
        "report": report.number,
        "manifest_sha256": manifest.report_manifest_hash(report.manifest),
        "external": report.eval_run.backend.is_external,
        "baseline_external": report.baseline is not None and report.baseline.backend.is_external,
        "production_external": report.production_run is not None and report.production_run.backend.is_external,
        "files": [{"path": file.path, "sha256": file.sha256, "part": file.part} for file in files],
    }
    files.append(_text_file(LIST, _indented(listed)))
    caches["process"].set(_hash_key(report), files[-1].sha256, _WEEK)
    return files


def bundle_hash(report: GateReport) -> str:
    """The hash of ``bundle.json``, by which a bundle is recognized. Kept, because it reads every score: seconds for
    thousands of outputs."""
    return known_bundle_hash(report) or bundle_files(report)[-1].sha256


def known_bundle_hash(report: GateReport) -> str:
    """The hash where it is kept already, else ""."""
    sha256: str | None = caches["process"].get(_hash_key(report))
    return sha256 or ""


def _hash_key(report: GateReport) -> str:
    approval = getattr(report, "approval", None)
    state = (report.pk, approval.pk if approval is not None else 0, application()["commit"])
    return f"evaluation:bundle:{sha256_text(repr(state))}"


def _parts(report: GateReport) -> Iterator[BundleFile]:
    """The manifest, and the files that it has the hashes of. Weights and the other documents are not in a bundle."""
    run, baseline, packet = report.eval_run, report.baseline, report.manifest
    yield _text_file("manifest.json", manifest.scores_text(packet))
    yield BundleFile("holdout.jsonl", packet["holdout"], lambda: _holdout_lines(run), "holdout")
    yield BundleFile("outputs.jsonl", packet["outputs"], lambda: _outputs(run), "outputs")
    yield _text_file("scores.json", manifest.scores_text(run.scores), "scores")
    if baseline is not None:
        yield BundleFile("baseline_outputs.jsonl", packet["baseline"], lambda: _outputs(baseline), "baseline")
        yield _text_file("baseline_scores.json", manifest.scores_text(baseline.scores), "baseline_scores")
    if (other := report.production_run) is not None:
        yield BundleFile("production_outputs.jsonl", packet["production"], lambda: _outputs(other), "production")
        yield _text_file("production_scores.json", manifest.scores_text(other.scores), "production_scores")
        yield _text_file("production.json", manifest.facts_text(report.production), "production_facts")
    yield _text_file("schema.json", run.dataset.schema_version.schema_text, "schema")
    yield _text_file("policy.json", dumps(gates_of(report.policy).to_json()), "policy")
    yield _text_file("verdicts.json", manifest.verdicts_text(report), "verdicts")
    if run.spec and not run.backend.is_external:
        yield _text_file("evaluation.yaml", run.spec, "spec")
    if report.provenance:
        yield _text_file("provenance.json", manifest.facts_text(report.provenance), "provenance")
    if report.measurement is not None:
        yield _text_file("measurement.json", resources.requests_text(report.measurement.requests), "measurement")
    if "pins" in packet:
        yield _text_file("pins.json", manifest.suite_text(suite_answers(run)), "pins")


def _holdout_lines(run: EvalRun) -> Iterator[bytes]:
    """The lines of the hold-out in the dataset file."""
    with dataset_queries.file_path(run.dataset).open("rb") as file:
        for line in file:
            if loads(line, max_characters=None)["split"] == Split.HOLDOUT:
                yield line


def _outputs(run: EvalRun) -> Iterator[bytes]:
    with artifacts.local_path(run.outputs_key).open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


# -- scores, and the documents of gates --------------------------------------------------------------------------------


def _evidence(report: GateReport) -> Iterator[BundleFile]:
    """Scores of single documents, the documents that each gate counts, and the decision."""
    run, baseline = report.eval_run, report.baseline
    policy = gates_of(report.policy)
    inputs = external_inputs(policy, run)
    yield _text_file("documents.jsonl", "".join(_score_lines(run, inputs.removed)))
    if baseline is not None:
        yield _text_file("baseline_documents.jsonl", "".join(_score_lines(baseline, [])))
    if (other := report.production_run) is not None:
        common = set(common_scores(run, other))
        yield _text_file("production_documents.jsonl", "".join(_score_lines(other, [], common)))
    names = dict(EvalOutput.objects.filter(eval_run=run).values_list("document_id", "document__external_id"))
    names |= {row.document_id: row.document.external_id for row in inputs.removed}
    inputs = replace(inputs, production=production_then(report))
    facts = gather(run, baseline, replace(inputs, measurement=report.measurement))
    gates = {}
    for gate in policy:
        counted, removed = facts.documents_of(gate)
        gates[gate.key] = {
            "documents": [names[row.document_id] for row in counted],
            "removed": [names[row.document_id] for row in removed],
            "by_family": bool(facts.families_of(gate)),
        }
    resources_of_run = {
        "is_fresh": facts.resources.is_fresh,
        "time_share": facts.resources.time_share,
        "peak_memory_bytes": facts.resources.facts.get("peak_memory_bytes"),
    }
    yield _text_file(
        "gates.json", dumps({"number": report.holdout_number, "gates": gates, "resources": resources_of_run})
    )
    yield _text_file("decision.json", _indented(_decision(report)))


def _score_lines(run: EvalRun, removed: list[EvalOutput], only: set[int] | None = None) -> Iterator[str]:
    """The stored score of each document, a line each; those that left the hold-out last."""
    rows = EvalOutput.objects.filter(eval_run=run).select_related("document").order_by("document_id")
    rows = rows if only is None else rows.filter(document__in=only)
    rows = rows.defer("gold", "raw", "error", "document__text")
    families = families_of(run.dataset, run.split)
    for is_removed, group in ((False, rows.iterator(chunk_size=500)), (True, iter(removed))):
        for row in group:
            line = score_line(
                row.document.external_id, row.score, document=row.document_id, removed=is_removed,
                family=None if is_removed else families.get(row.document_id),
            )  # fmt: skip
            yield dumps(line) + "\n"


def _indented(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _decision(report: GateReport) -> dict[str, Any]:
    approval = getattr(report, "approval", None)
    if approval is None:
        return {"decision": ""}
    return {
        "decision": str(approval.decision),
        "by": approval.decided_by.get_username(),
        "at": approval.decided_at.isoformat(),
        "reason": approval.reason,
        "waiver": approval.waiver,
        "manifest_sha256": approval.manifest_sha256,
    }


def _readme(report: GateReport) -> str:
    return f"""# Evidence of gate report {report.number} of {report.project.slug}

Gold labels and outputs of the hold-out, the schema, the gates, the verdicts and the hashes of the report. Verify them
with an installation of SLM Studio that you trust, preferably the version that created the report
({application()["version"]}). No database and no network are needed:

    python manage.py verify_bundle FILE --sha256 HASH

HASH is on the page of the report (*Provenance*). Where bundles are signed, `--public-key FILE` verifies the signature
of `bundle.json`.

The hold-out must stay unknown to those who train models. Do not publish this folder.
"""
