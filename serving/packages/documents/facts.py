"""What the documents of a package say, read from the database and its folder when it is built."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from django.utils import timezone

from evaluation.inference.classical_spec import EMBEDDINGS_PACKAGE
from evaluation.inference.model_columns import ClassicalKind
from evaluation.models import EvalRun
from serving.engines import ENGINES, PROGRAM, PROMPT
from serving.models import Package
from serving.packages.spec import FILE, ServeSpec
from slmstudio.storage.hashing import FileEntry, folder_manifest
from training.models import BaseModel

_METRICS = {
    "field_exact": "Field accuracy", "document_exact": "Exact documents", "schema_valid": "Schema-valid outputs",
    "hallucinated": "Documents with a hallucinated value",
}  # fmt: skip


@dataclass(frozen=True)
class Metric:
    """A share measured by the evaluation, 0 to 1, with its 95% interval."""

    name: str
    title: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PackageFacts:
    """A package with its spec and files. ``prompt``: the contents of prompt.json, None where there is none. ``base``:
    its base model; a classical model has none. ``versions``: name of a library -> version that it was built with.
    ``built_at``: ISO 8601, UTC.
    """

    package: Package
    serve: ServeSpec
    files: Sequence[FileEntry]
    parity: dict[str, Any]
    prompt: dict[str, Any] | None
    base: BaseModel | None
    versions: dict[str, str]
    built_at: str
    python: str = platform.python_version()

    @property
    def run(self) -> EvalRun:
        """The evaluation."""
        return self.package.eval_run

    @property
    def slug(self) -> str:
        """Of the project."""
        return self.package.project.slug

    @property
    def name(self) -> str:
        """Its name for other servers."""
        return f"{self.slug}-{self.package.number}"

    @property
    def licence(self) -> str:
        """Of the base model; "" where it is unknown."""
        return self.base.licence if self.base is not None else ""

    @property
    def base_reference(self) -> str:
        """The base model on the hub; "" where it is not there."""
        if self.base is None:
            return ""
        return self.base.reference or (self.base.location if self.base.source == "hub" else "")

    @property
    def metrics(self) -> list[Metric]:
        """Of the evaluation."""
        rates = {name: self.run.scores.get(name) or {} for name in _METRICS}
        return [
            Metric(name, _METRICS[name], float(rate["rate"]), float(rate["low"]), float(rate["high"]))
            for name, rate in rates.items()
            if rate.get("rate") is not None
        ]

    @property
    def family(self) -> str:
        """Of the model, as ``EngineType.family``; only decoders generate text."""
        return ENGINES[self.package.engine].family

    @property
    def has_program(self) -> bool:
        """Whether the package has the program that answers without the studio."""
        return any(entry["path"] == PROGRAM for entry in self.files)

    @property
    def has_weights(self) -> bool:
        """Whether the package has the weights of a language model as well as, or instead of, GGUF files."""
        names = [str(entry["path"]) for entry in self.files]
        is_hybrid = "model/hybrid.json" in names  # other servers would run only its decoder
        return self.family == "decoder" and not is_hybrid and any(name.endswith(".safetensors") for name in names)


def facts(package: Package, folder: Path, parity: dict[str, Any]) -> PackageFacts:
    """What the documents of a package in ``folder`` say."""
    run, prompt = package.eval_run, folder / PROMPT
    libraries = [name for variant in package.all_variants for name in ENGINES[variant.engine].libraries]
    if run.classical is not None and run.classical.kind == ClassicalKind.EMBEDDINGS:
        libraries += [EMBEDDINGS_PACKAGE, "torch", "transformers", "tokenizers"]
    return PackageFacts(
        package=package,
        serve=ServeSpec.from_yaml((folder / FILE).read_text(encoding="utf-8")),
        files=folder_manifest(folder),
        parity=parity,
        prompt=json.loads(prompt.read_text(encoding="utf-8")) if prompt.exists() else None,
        base=run.training_run.base_model if run.model_version_id and run.training_run else run.base_model,
        versions={name: metadata.version(name) for name in libraries},
        built_at=timezone.now().isoformat(timespec="seconds"),
    )
