"""The loop as one JSON report, and each model's outputs as a file that anyone can score again."""

from pathlib import Path
from typing import Any

from evaluation.comparison.regressions import document_p
from evaluation.models import EvalOutput, EvalRun, LoopRun
from evaluation.pipeline.services import stages
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.storage.hashing import sha256_text


def loop_report(loop: LoopRun) -> dict[str, Any]:
    """Figures of both models, the comparison, the verdicts, seconds per stage and the hashes. JSON-ready."""
    report: dict[str, Any] = {"base": figures(loop.base), "tuned": figures(loop.tuned)}
    if loop.base_free is not None:
        report["base_free"] = figures(loop.base_free)
    if loop.tuned_free is not None:
        report["tuned_free"] = figures(loop.tuned_free)
    if loop.comparison is not None:
        result = loop.comparison.result
        fixed, broken = result["fixed"], result["broken"]
        report["comparison"] = {
            "fixed": len(fixed),
            "broken": len(broken),
            "p_adjusted": document_p(result),
            "fixed_ids": fixed,
            "broken_ids": broken,
        }
    if loop.gate_report is not None:
        gates = loop.gate_report
        report["gates"] = {"sentence": gates.sentence, "passed": gates.passed, "verdicts": gates.verdicts}
        report["hashes"] = gates.packet
    report["seconds"] = {stage.name: round(stage.run.seconds or 0, 1) for stage in stages(loop)}
    report["seconds"]["total"] = round(loop.seconds or 0, 1)
    report["training"] = {"spec_sha256": sha256_text(loop.training_run.spec), **loop.training_run.facts}
    report["dataset"] = {
        "sha256": loop.dataset.sha256,
        "holdout_sha256": loop.dataset.holdout_sha256,
        "counts": loop.dataset.counts,
    }
    return report


def figures(run: EvalRun) -> dict[str, Any]:
    """One model's figures. Rates are plain numbers; the counts and 95 % Wilson intervals stand in ``intervals``."""
    scores = run.scores
    rates = {
        "schema_valid_rate": scores["schema_valid"],
        "field_exact": scores["field_exact"],
        "document_exact": scores["document_exact"],
    }
    return {
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


def write_outputs(loop: LoopRun, folder: Path) -> list[Path]:
    """Writes ``base.jsonl``, ``tuned.jsonl`` and, where they exist, the free ones; returns the paths.

    A row is ``{"id", "gold", "raw", "output", "valid", "latency_ms"}``; ``output`` is null where ``raw`` is no JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs = {"base": loop.base, "tuned": loop.tuned, "base_free": loop.base_free, "tuned_free": loop.tuned_free}
    paths = []
    for name, run in runs.items():
        if run is None:
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
