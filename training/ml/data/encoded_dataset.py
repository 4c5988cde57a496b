"""The dataset of a run as token ids, with checks of what cannot be trained."""

from dataclasses import dataclass
from typing import Any

from transformers import AutoConfig

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import sha256_text
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, of_split, read_rows
from training.ml.lengths import EncodedRow, encode_rows
from training.spec import RunSpec


@dataclass(frozen=True)
class EncodedDataset:
    """The encoded rows of a run. ``left_out``: dropped rows over the limit, with their length in tokens."""

    train: list[EncodedRow]
    validation: list[EncodedRow]
    left_out: list[dict[str, Any]]
    #: how many of the training rows have silver labels
    silver: int = 0

    @property
    def has_one_answer(self) -> bool:
        """Whether all training documents have the same output, so that there is nothing to distinguish."""
        return len(self.train) > 1 and len({tuple(one.completion) for one in self.train}) == 1


def load_dataset(spec: RunSpec, schema: CompiledSchema, encoder: Encoder) -> EncodedDataset:
    """Encodes the rows. Raises Refused where there are none, or some are too long and must not be dropped."""
    rows = read_rows(spec.dataset.path, spec.dataset.sha256)
    silver = read_rows(spec.silver.path, spec.silver.sha256) if spec.silver is not None else []
    _check_context(spec)
    parts, left_out = [], []
    for split in ("train", "validation"):
        encoded = encode_rows(
            of_split(rows, split), instruction=spec.contract.instruction, schema=schema, encoder=encoder
        )
        long = [one for one in encoded if one.length > spec.max_length]
        if long and (spec.too_long == "refuse" or (split == "train" and len(long) == len(encoded))):
            raise Refused(_too_long(long, len(encoded), split, spec), code="length")
        left_out += [{"id": one.row.id, "split": split, "tokens": one.length} for one in long]
        parts.append([one for one in encoded if one.length <= spec.max_length])
    train, validation = parts
    if not train:
        raise Refused("The dataset has no training documents.", code="dataset")
    if spec.early_stopping is not None and not validation:
        raise Refused(
            "early_stopping requires validation documents, and there are none. Remove it, or freeze a dataset with a "
            "validation split.",
            code="early_stopping",
        )
    train = subset(train, spec.train_share, spec.seed)
    extra = _encode_silver(silver, rows, spec, schema, encoder)
    left_out += [{"id": one.row.id, "split": "silver", "tokens": one.length} for one in extra if _is_long(one, spec)]
    extra = [one for one in extra if not _is_long(one, spec)]
    ordered = sorted(validation, key=lambda one: one.length)
    return EncodedDataset(train=[*train, *extra], validation=ordered, left_out=left_out, silver=len(extra))


def subset(rows: list[EncodedRow], share: float, seed: int) -> list[EncodedRow]:
    """A share of the rows, at least one, in their order. With the same seed a smaller share is a part of a larger."""
    if share >= 1:
        return rows
    drawn = sorted(rows, key=lambda one: sha256_text(f"{seed}:{one.row.id}"))[: max(1, round(share * len(rows)))]
    kept = {one.row.id for one in drawn}
    return [one for one in rows if one.row.id in kept]


def _encode_silver(
    silver: list[Row], rows: list[Row], spec: RunSpec, schema: CompiledSchema, encoder: Encoder
) -> list[EncodedRow]:
    """Raises Refused where a document has gold as well: it could be one of validation or hold-out."""
    if both := {row.id for row in silver} & {row.id for row in rows}:
        raise Refused(f"{min(both)} has a gold label and a silver label.", code="dataset")
    return encode_rows(silver, instruction=spec.contract.instruction, schema=schema, encoder=encoder)


def _is_long(one: EncodedRow, spec: RunSpec) -> bool:
    return one.length > spec.max_length


def _check_context(spec: RunSpec) -> None:
    config = AutoConfig.from_pretrained(spec.base_model.path, local_files_only=True, trust_remote_code=False)
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if context and spec.max_length > context:
        raise Refused(f"The model reads at most {context} tokens; max_length is {spec.max_length}.", code="length")


def _too_long(long: list[EncodedRow], count: int, split: str, spec: RunSpec) -> str:
    longest = max(one.length for one in long)
    if len(long) == count and spec.too_long == "leave_out":
        return (
            f"All {count} {split} documents are longer than {spec.max_length} tokens, so none is left; the "
            f"longest has {longest}. Raise max_length."
        )
    return (
        f"{len(long)} of {count} {split} documents are longer than {spec.max_length} tokens; the longest has {longest}."
        " Raise the sequence length (max_length) or leave them out. Nothing is truncated."
    )
