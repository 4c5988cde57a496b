"""Writes the documents of a package into its folder, before it is hashed."""

import json
from pathlib import Path
from typing import Any

from evaluation.approvals.decisions import void_reasons
from evaluation.models import Approval, EvalRun
from serving.models import Package
from serving.packages.documents import card, recipes
from serving.packages.documents.bom import bill_of_materials
from serving.packages.documents.facts import facts
from serving.packages.documents.manifest import write_manifest
from serving.packages.spec import FILE
from slmstudio.storage.hashing import sha256_file, sha256_text

EVIDENCE = "evidence"


def write_documents(package: Package, folder: Path, parity: dict[str, Any]) -> None:
    """Model card, evidence, bill of materials, files for other servers, and the manifest with its signature.

    Raises:
        Refused: the package cannot be signed.
    """
    (folder / EVIDENCE).mkdir(exist_ok=True)
    for name, value in _evidence(package, folder, parity).items():
        _write_json(folder / EVIDENCE / name, value)
    about = facts(package, folder, parity)
    texts = {"README.md": card.text(about)}
    if about.has_program:
        texts |= {
            "requirements.txt": recipes.requirements(about),
            "Dockerfile": recipes.dockerfile(about),
            "compose.yaml": recipes.compose(about),
        }
    if about.prompt is not None:
        texts["Modelfile"] = recipes.modelfile(about)
    if about.has_weights:
        texts["vllm.sh"] = recipes.vllm(about)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    _write_json(folder / "bom.json", bill_of_materials(about))
    write_manifest(
        folder, project=package.project.slug, package=package.number, engine=package.engine, built_at=about.built_at
    )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def _evidence(package: Package, folder: Path, parity: dict[str, Any]) -> dict[str, Any]:
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
