"""The facts and the evidence of a package, read from the database when it is built."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from django.utils import timezone

from evaluation.approvals.decisions import void_reasons
from evaluation.inference.classical_spec import EMBEDDINGS_PACKAGE
from evaluation.inference.model_columns import ClassicalKind
from evaluation.models import Approval, EvalRun
from serving.models import Package
from serving.packages.documents.facts import Metric, PackageFacts
from serving.packages.spec import FILE, PROMPT, REQUIREMENTS, ServeSpec
from slmstudio.storage.hashing import folder_manifest, sha256_file, sha256_text
from training.model_cards import card
from training.model_cards.facts import facts_of
from training.models import BaseModel

_METRICS = {
    "field_exact": "Field accuracy", "document_exact": "Exact documents", "schema_valid": "Schema-valid outputs",
    "hallucinated": "Documents with a hallucinated value",
}  # fmt: skip
_LIBRARIES = {
    "llama_cpp": REQUIREMENTS, "transformers": ("transformers", "torch", "tokenizers", "llguidance"), "vllm": (),
    "ollama": (), "sklearn": ("scikit-learn", "numpy", "scipy"),
}  # fmt: skip


def facts(package: Package, folder: Path, parity: dict[str, Any]) -> PackageFacts:
    """What the documents of a package in ``folder`` say."""
    run, serve = package.eval_run, ServeSpec.from_yaml((folder / FILE).read_text(encoding="utf-8"))
    training = run.training_run if run.model_version_id is not None else None
    base = training.base_model if training is not None else run.base_model
    prompt, trained_on = folder / PROMPT, run.backend.trained_on
    return PackageFacts(
        project=package.project.name,
        slug=package.project.slug,
        number=package.number,
        engine=package.engine,
        model=run.model_label,
        **_origin(base),
        dataset=run.dataset.number,
        dataset_sha256=run.dataset.sha256,
        trained_on=trained_on.number if trained_on is not None else 0,
        trained_on_sha256=trained_on.sha256 if trained_on is not None else "",
        evaluation=run.number,
        split=run.split,
        mode=run.get_mode_display(),
        metrics=_metrics(run),
        parity=parity,
        context=serve.context or 0,
        max_output_tokens=serve.output_tokens.maximum,
        seed=serve.seed,
        built_at=timezone.now().isoformat(timespec="seconds"),
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in _libraries(package)},
        files=folder_manifest(folder),
        prompt=json.loads(prompt.read_text(encoding="utf-8")) if prompt.exists() else None,
        served_name=serve.name,
        variants=[(variant.label, variant.parity) for variant in package.all_variants],
        training_card=card.body(facts_of(training)) if training is not None else "",
    )


def _origin(base: BaseModel | None) -> dict[str, str]:
    """What the documents say of the base model; a classical model has none."""
    if base is None:
        return {}
    return {
        "base_model": base.name,
        "base_reference": base.reference or (base.location if base.source == "hub" else ""),
        "base_sha256": base.sha256,
        "licence": base.licence,
        "architecture": base.architecture,
    }


def _libraries(package: Package) -> list[str]:
    libraries = [name for variant in package.all_variants for name in _LIBRARIES[variant.engine]]
    classical = package.eval_run.classical
    if classical is not None and classical.kind == ClassicalKind.EMBEDDINGS:
        libraries += [EMBEDDINGS_PACKAGE, "torch", "transformers", "tokenizers"]
    return libraries


def _metrics(run: EvalRun) -> list[Metric]:
    metrics = []
    for name, title in _METRICS.items():
        rate = run.scores.get(name) or {}
        if rate.get("rate") is not None:
            metrics.append(Metric(name, title, float(rate["rate"]), float(rate["low"]), float(rate["high"])))
    return metrics


def evidence(package: Package, folder: Path, parity: dict[str, Any]) -> dict[str, Any]:
    """File name -> contents of the evidence folder."""
    run = package.eval_run
    return {
        "parity.json": parity,
        **({"variants.json": package.variants} if len(package.variants) > 1 else {}),
        "evaluation.json": {
            "number": run.number, "dataset": run.dataset.number, "split": run.split, "mode": run.mode,
            "scorer_version": run.scorer_version, "scores": run.scores, "latency": run.latency,
        },
        "hashes.json": {
            "schema": run.dataset.schema_version.compiled.hash,
            "schema_text": run.dataset.schema_version.sha256,
            "prompt": sha256_file(folder / FILE),
            "evaluation_spec": sha256_text(run.spec),
            "outputs": run.outputs_sha256,
            "dataset": run.dataset.sha256,
            "holdout": run.dataset.holdout_sha256,
        },
        "approval.json": _approval(run),
    }  # fmt: skip


def _approval(run: EvalRun) -> dict[str, Any]:
    """The newest valid approval of the evaluation when the package was built."""
    rows = Approval.objects.filter(report__eval_run=run, decision=Approval.Decision.APPROVED)
    for approval in rows.select_related("report__project", "report__policy", "decided_by").order_by("-report__number"):
        if not void_reasons(approval, files=False):
            return {
                "approved": True, "report": approval.report.number, "decided_by": approval.decided_by.get_username(),
                "decided_at": approval.decided_at.isoformat(), "reason": approval.reason, "waiver": approval.waiver,
                "manifest_sha256": approval.manifest_sha256, "manifest": approval.report.manifest,
                "provenance": approval.report.provenance,
            }  # fmt: skip
    return {"approved": False}
