"""What the documents of a package say. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.packages.spec import PROGRAM
from slmstudio.storage.hashing import FileEntry


@dataclass(frozen=True)
class Metric:
    """A share measured by the evaluation, 0 to 1, with its 95% interval."""

    name: str
    title: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class PackageFacts:
    """A package. ``prompt``: the contents of prompt.json, None where there is none. ``dataset``: version that it was
    evaluated on; ``trained_on``: version that it was trained on, 0 for a base model. ``base_model``,
    ``base_reference``, ``base_sha256``, ``licence``, ``architecture``: "" where unknown, and for a classical model.
    ``versions``: name of a library -> version that it was built with. ``built_at``: ISO 8601, UTC. ``served_name``: of
    the model on a server with several. ``variants``: label and parity of each engine.
    """

    project: str
    slug: str
    number: int
    engine: str
    model: str
    dataset: int
    dataset_sha256: str
    evaluation: int
    split: str
    mode: str
    metrics: Sequence[Metric]
    parity: dict[str, Any]
    context: int
    max_output_tokens: int
    seed: int
    built_at: str
    python: str
    versions: dict[str, str]
    files: Sequence[FileEntry]
    trained_on: int = 0
    trained_on_sha256: str = ""
    base_model: str = ""
    base_reference: str = ""
    base_sha256: str = ""
    licence: str = ""
    architecture: str = ""
    prompt: dict[str, Any] | None = None
    served_name: str = ""
    variants: Sequence[tuple[str, dict[str, Any]]] = ()
    training_card: str = field(default="", repr=False)

    @property
    def is_classical(self) -> bool:
        """Whether the model is a classical model, which generates no text."""
        return self.engine == "sklearn"

    @property
    def has_program(self) -> bool:
        """Whether the package has the program that answers without the studio."""
        return any(entry["path"] == PROGRAM for entry in self.files)

    @property
    def has_weights(self) -> bool:
        """Whether the package has the weights of a language model as well as, or instead of, GGUF files."""
        return not self.is_classical and any(str(entry["path"]).endswith(".safetensors") for entry in self.files)

    @property
    def name(self) -> str:
        """Its name for other servers."""
        return f"{self.slug}-{self.number}"
