"""The bill of materials of a package: CycloneDX 1.6 with a model card (https://cyclonedx.org/docs/1.6/json/)."""

import uuid
from typing import Any

from serving.packages.documents.facts import PackageFacts
from slmstudio.storage.hashing import manifest_hash

#: the namespace of serial numbers: the same files have the same number
_NAMESPACE = uuid.UUID("6f6c3c0e-3a53-4b0c-9d0e-6f1f1c5f7a11")


def bill_of_materials(facts: PackageFacts) -> dict[str, Any]:
    """Model, base model, dataset, libraries and files, with their hashes."""
    components = [*_base_model(facts), _dataset(facts), *_libraries(facts), *_files(facts)]
    root = _model(facts)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, manifest_hash(list(facts.files)))}",
        "version": 1,
        "metadata": {"timestamp": facts.built_at, "component": root},
        "components": components,
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": [component["bom-ref"] for component in components]}],
    }


def _model(facts: PackageFacts) -> dict[str, Any]:
    metrics = [
        {
            "type": metric.name, "value": f"{metric.value:.4f}", "slice": facts.run.split,
            "confidenceInterval": {"lowerBound": f"{metric.low:.4f}", "upperBound": f"{metric.high:.4f}"},
        }
        for metric in facts.metrics
    ]  # fmt: skip
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": "structured extraction",
        "datasets": [{"ref": "dataset"}],
        "inputs": [{"format": "text"}],
        "outputs": [{"format": "application/json"}],
    }
    if facts.family != "classical":
        parameters["architectureFamily"] = "transformer"
    if facts.base is not None and facts.base.architecture:
        parameters["modelArchitecture"] = facts.base.architecture
    limits = ["An output can match the schema and still have wrong values. Verify them."]
    return {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": facts.slug,
        "version": str(facts.package.number),
        "description": f"{facts.run.model_label}, served with {facts.package.engine}",
        **_license(facts),
        "modelCard": {
            "modelParameters": parameters,
            "quantitativeAnalysis": {"performanceMetrics": metrics},
            "considerations": {"technicalLimitations": limits},
        },
    }


def _base_model(facts: PackageFacts) -> list[dict[str, Any]]:
    if facts.base is None:
        return []
    component = {"type": "machine-learning-model", "bom-ref": "base-model", "name": facts.base.name, **_license(facts)}
    if facts.base_reference:
        component["purl"] = f"pkg:huggingface/{facts.base_reference}"
    return [{**component, **_hashes(facts.base.sha256)}]


def _dataset(facts: PackageFacts) -> dict[str, Any]:
    name = f"{facts.slug} dataset"
    data = {"type": "dataset", "name": name, "description": "frozen documents with gold labels"}
    version = facts.run.backend.trained_on or facts.run.dataset
    return {
        "type": "data", "bom-ref": "dataset", "name": name, "version": str(version.number), "data": [data],
        **_hashes(version.sha256),
    }  # fmt: skip


def _libraries(facts: PackageFacts) -> list[dict[str, Any]]:
    return [
        {
            "type": "library", "bom-ref": f"pkg:pypi/{name}@{version}", "name": name, "version": version,
            "purl": f"pkg:pypi/{name}@{version}",
        }
        for name, version in sorted(facts.versions.items())
    ]  # fmt: skip


def _files(facts: PackageFacts) -> list[dict[str, Any]]:
    return [
        {"type": "file", "bom-ref": f"file:{entry['path']}", "name": entry["path"], **_hashes(entry["sha256"])}
        for entry in facts.files
    ]


def _license(facts: PackageFacts) -> dict[str, Any]:
    return {"licenses": [{"license": {"name": facts.licence}}]} if facts.licence else {}


def _hashes(sha256: str) -> dict[str, Any]:
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]} if sha256 else {}
