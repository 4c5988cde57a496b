"""The dataset of a run as token ids, with checks of what cannot be trained."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from transformers import AutoConfig

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text
from training.ml.data.encoder import Encoder
from training.ml.data.long_documents import LongDocuments
from training.ml.data.rows import Row, of_split, read_rows
from training.ml.lengths import EncodedRow, encode_rows
from training.spec import RunSpec, WindowPlan


@dataclass(frozen=True)
class EncodedDataset:
    """The encoded rows of a run; of a document over the limit those of its windows.

    ``left_out``: dropped rows over the limit, with their length in tokens.
    """

    train: list[EncodedRow]
    validation: list[EncodedRow]
    left_out: list[dict[str, Any]]
    #: how many of the training rows have silver labels
    silver: int = 0
    #: how the model reads documents over the limit
    windows: WindowPlan | None = None

    @property
    def has_one_answer(self) -> bool:
        """Whether all training documents have the same output, so that there is nothing to distinguish."""
        return len(self.train) > 1 and len({tuple(row.completion) for row in self.train}) == 1

    def validation_documents(self) -> list[list[EncodedRow]]:
        """The validation documents by id, each as its row or as the rows of its windows in order."""
        documents: dict[str, list[EncodedRow]] = {}
        for row in self.validation:
            documents.setdefault(row.document.id, []).append(row)
        return [
            sorted(documents[name], key=lambda row: 0 if row.of is None else row.of.window.start)
            for name in sorted(documents)
        ]

    def window_facts(self) -> dict[str, Any] | None:
        """The plan of windows, with the number of training documents that have some and of their rows."""
        parts = [row for row in self.train if row.of is not None]
        documents = len({row.document.id for row in parts})
        return None if self.windows is None else {**asdict(self.windows), "documents": documents, "rows": len(parts)}


def load_dataset(spec: RunSpec, schema: CompiledSchema, encoder: Encoder) -> EncodedDataset:
    """Encodes the rows. Raises Refused where there are none, or some are too long and must not be split or dropped."""
    rows = read_rows(spec.dataset.path, spec.dataset.sha256)
    silver = read_rows(spec.silver.path, spec.silver.sha256) if spec.silver is not None else []
    _check_context(spec)
    train, validation = (
        encode_rows(of_split(rows, split), instruction=spec.contract.instruction, schema=schema, encoder=encoder)
        for split in ("train", "validation")
    )
    _check_lengths(train, "train", spec)
    _check_lengths(validation, "validation", spec)
    long = LongDocuments(train, spec, schema, encoder)
    train, validation = long.fitted(train, "train"), long.fitted(validation, "validation")
    if not train and long.left_out:
        message = f"No training document fits in {spec.max_length} tokens, not even in windows. Raise max_length."
        raise Refused(message, code="length")
    if not train:
        raise Refused("The dataset has no training documents.", code="dataset")
    if spec.early_stopping is not None and not validation:
        raise Refused(
            "early_stopping requires validation documents, and there are none. Remove it, or freeze a dataset with a "
            "validation split.",
            code="early_stopping",
        )
    train = subset(train, spec.train_share, spec.seed)
    check_silver(silver, rows)
    encoded = encode_rows(silver, instruction=spec.contract.instruction, schema=schema, encoder=encoder)
    extra = long.fitted(encoded, "silver")
    trained = [*train, *extra]
    ordered = sorted(validation, key=lambda row: row.length)
    plan = long.plan(trained)
    return EncodedDataset(trained, ordered, left_out=long.left_out, silver=len(extra), windows=plan)


def subset(rows: list[EncodedRow], share: float, seed: int) -> list[EncodedRow]:
    """The rows of a share of the documents, in their order; see ``drawn_documents``."""
    kept = drawn_documents((row.document.id for row in rows), share, seed)
    return [row for row in rows if row.document.id in kept]


def drawn_documents(names: Iterable[str], share: float, seed: int) -> set[str]:
    """The names of a share of the documents, at least one. With the same seed a smaller share is a part of a larger."""
    unique = list(dict.fromkeys(names))
    if share >= 1:
        return set(unique)
    drawn = sorted(unique, key=lambda name: sha256_text(f"{seed}:{name}"))
    return set(drawn[: max(1, round(share * len(unique)))])


def check_silver(silver: list[Row], rows: list[Row]) -> None:
    """Raises Refused where a document has gold as well: it could be one of validation or hold-out."""
    if both := {row.id for row in silver} & {row.id for row in rows}:
        raise Refused(f"{min(both)} has a gold label and a silver label.", code="dataset")


def _check_context(spec: RunSpec) -> None:
    config = AutoConfig.from_pretrained(spec.base_model.path, local_files_only=True, trust_remote_code=False)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context and spec.max_length > context:
        raise Refused(f"The model reads at most {context} tokens; max_length is {spec.max_length}.", code="length")


def _check_lengths(rows: list[EncodedRow], split: str, spec: RunSpec) -> None:
    long = [row for row in rows if row.length > spec.max_length]
    if not long or spec.too_long == "windows" or (spec.too_long == "leave_out" and split != "train"):
        return
    longest = max(row.length for row in long)
    if spec.too_long == "refuse":
        raise Refused(
            f"{len(long)} of {len(rows)} {split} documents are longer than {spec.max_length} tokens; the longest has "
            f"{longest}. Raise the sequence length (max_length), split them into windows, or leave them out. Nothing "
            "is truncated.",
            code="length",
        )
    if len(long) == len(rows):
        raise Refused(
            f"All {len(rows)} {split} documents are longer than {spec.max_length} tokens, so none is left; the longest "
            f"has {longest}. Raise max_length.",
            code="length",
        )
