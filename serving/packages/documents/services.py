"""Writes the documents of a package into its folder, before it is hashed."""

import json
from pathlib import Path
from typing import Any

from serving.models import Package
from serving.packages.documents import card, recipes
from serving.packages.documents.bom import bill_of_materials
from serving.packages.documents.evidence import evidence, facts
from serving.packages.documents.manifest import write_manifest

EVIDENCE = "evidence"


def write_documents(package: Package, folder: Path, parity: dict[str, Any]) -> None:
    """Model card, evidence, bill of materials, files for other servers, and the manifest with its signature.

    Raises:
        Refused: the package cannot be signed.
    """
    (folder / EVIDENCE).mkdir(exist_ok=True)
    for name, value in evidence(package, folder, parity).items():
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
