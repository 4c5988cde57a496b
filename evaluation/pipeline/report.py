"""The JSON report of a pipeline, and the outputs of each model as a file for independent scoring."""

from pathlib import Path
from typing import Any

from evaluation.comparison.regressions import document_p
from evaluation.models import EvalOutput, EvalRun, PipelineRun
from evaluation.pipeline.services import EVALUATIONS, stages
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.storage.hashing import sha256_text


def pipeline_report(pipeline: PipelineRun) -> dict[str, Any]:
    """Figures of both models, the comparison, the verdicts, seconds per stage and hashes, ready for JSON."""
    report: dict[str, Any] = {name: figures(run) for name, run in evaluations(pipeline)}
    if pipeline.comparison is not None and pipeline.base is not None:
        result = pipeline.comparison.result
        fixed, broken = result["fixed"], result["broken"]
        report["comparison"] = {
            "fixed": len(fixed),
            "broken": len(broken),
            "p_adjusted": document_p(result),
        }
        if pipeline.base.outputs_visible and pipeline.tuned.outputs_visible:
            report["comparison"] |= {"fixed_ids": fixed, "broken_ids": broken}
    if pipeline.gate_report is not None:
        gates = pipeline.gate_report
        report["gates"] = {"sentence": gates.sentence, "passed": gates.passed, "verdicts": gates.verdicts}
        report["hashes"] = gates.manifest
    report["seconds"] = {stage.name: round(stage.run.seconds or 0, 1) for stage in stages(pipeline)}
    report["seconds"]["total"] = round(pipeline.seconds or 0, 1)
    report["training"] = {"spec_sha256": sha256_text(pipeline.training_run.spec), **pipeline.training_run.facts}
    report["dataset"] = {
        "sha256": pipeline.dataset.sha256,
        "holdout_sha256": pipeline.dataset.holdout_sha256,
        "counts": pipeline.dataset.counts,
    }
    return report


def evaluations(pipeline: PipelineRun) -> list[tuple[str, EvalRun]]:
    """The evaluations of a pipeline with their names in the report."""
    runs = ((name, getattr(pipeline, name)) for name in EVALUATIONS)
    return [(name, run) for name, run in runs if run is not None]


def figures(run: EvalRun) -> dict[str, Any]:
    """One model's figures. Rates are numbers; ``intervals`` has the counts and 95% Wilson intervals."""
    scores = run.scores
    rates = {
        "schema_valid_rate": scores["schema_valid"],
        "field_exact": scores["field_exact"],
        "document_exact": scores["document_exact"],
    }
    return {
        "split": str(run.split),
        "documents": scores["documents"],
        **{name: value["rate"] for name, value in rates.items()},
        "per_field": {name: value["rate"] for name, value in scores["per_field"].items()},
        "sroie": {key: scores["sroie"][key] for key in ("precision", "recall", "f1")} if "sroie" in scores else None,
        "latency_ms": {key: run.latency.get(key) for key in ("p50", "p95", "p99")},
        "docs_per_second": run.facts.get("docs_per_second"),
        "errors": scores.get("errors", {}),
        "intervals": {**rates, "per_field": scores["per_field"]},
        "outputs_sha256": run.outputs_sha256,
    }


def write_outputs(pipeline: PipelineRun, folder: Path) -> list[Path]:
    """Writes the outputs of each evaluation to ``NAME.jsonl``; returns the paths. Those on the hold-out are written if
    they are open (``evaluation.gates.holdout.disclosure``).

    A row is ``{"id", "gold", "raw", "output", "valid", "latency_ms"}``; ``output`` is null if ``raw`` is not JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, run in evaluations(pipeline):
        if not run.outputs_visible:
            continue
        path, compiled = folder / f"{name}.jsonl", run.dataset.schema_version.compiled
        with path.open("w") as file:
            for row in EvalOutput.objects.filter(eval_run=run).select_related("document").order_by("document_id"):
                file.write(dumps(_output_row(row, compiled)) + "\n")
        paths.append(path)
    return paths


def _output_row(row: EvalOutput, compiled: CompiledSchema) -> dict[str, Any]:
    return {
        "id": row.document.external_id,
        "gold": compiled.ordered(row.gold),
        "raw": row.raw,
        "output": compiled.ordered((row.score or {}).get("output")),
        "valid": row.valid,
        "latency_ms": row.latency_ms,
    }
