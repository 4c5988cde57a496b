"""Token lengths of a dataset under one model: ``python -m training.ml.lengths SPEC.yaml``.

Writes one JSON object a line to ``output`` (id, split, prompt, completion; the first row of each split also with
``seen``, the texts of both as the model reads them) and ends with ``done``: rows, output.
"""

import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.windows.windows import Window
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.events import Emitter, run_child
from training.ml.modeling.folder_checks import check_ref
from training.spec import LengthsSpec


@dataclass(frozen=True)
class WindowOfRow:
    """A window of a long document, and its row with all of the text and gold."""

    document: Row
    window: Window


@dataclass(frozen=True)
class EncodedRow:
    """A row as token ids: its prompt, and its completion with the end token. ``of``: set for a window."""

    row: Row
    prompt: list[int]
    completion: list[int]
    of: WindowOfRow | None = None

    @property
    def length(self) -> int:
        """Tokens of prompt and completion together."""
        return len(self.prompt) + len(self.completion)

    @property
    def document(self) -> Row:
        """The row with all of the text: of a window that of its document."""
        return self.row if self.of is None else self.of.document


def encode_rows(rows: Iterable[Row], *, instruction: str, schema: CompiledSchema, encoder: Encoder) -> list[EncodedRow]:
    """Rows as a run trains on them: instruction and document, then the canonical gold."""
    return [
        EncodedRow(
            row=row,
            prompt=encoder.prompt(instruction=instruction, document=row.text),
            completion=encoder.completion(schema.canonical(row.gold)),
        )
        for row in rows
    ]


def answer_limit(completions: Iterable[int]) -> int:
    """Maximum tokens of an output: 1.5 times the longest known completion plus 16; 512 without one."""
    longest = max(completions, default=0)
    return math.ceil(1.5 * longest) + 16 if longest else 512


def load_encoder(path: str, style: str) -> Encoder:
    """The encoder of a model folder, without its weights."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
    generation: Any = None
    if (Path(path) / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(path, local_files_only=True)
    return Encoder(tokenizer, style, generation)


def main(spec: LengthsSpec, emitter: Emitter) -> None:
    """The child process."""
    check_ref(spec.base_model)
    rows = read_rows(spec.dataset.path, spec.dataset.sha256)
    encoder = load_encoder(spec.base_model.path, spec.prompt)
    encoded = encode_rows(rows, instruction=spec.contract.instruction, schema=compiled(spec.contract), encoder=encoder)
    output = Path(spec.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    sampled: set[str] = set()
    with output.open("w", encoding="utf-8") as file:
        for row in encoded:
            measured: dict[str, Any] = {
                "id": row.row.id,
                "split": row.row.split,
                "prompt": len(row.prompt),
                "completion": len(row.completion),
            }
            if row.row.split not in sampled:
                sampled.add(row.row.split)
                measured["seen"] = {
                    "prompt": encoder.text_with_special_tokens(row.prompt),
                    "completion": encoder.text_with_special_tokens(row.completion),
                }
            file.write(json.dumps(measured, ensure_ascii=False) + "\n")
    emitter.emit("done", rows=len(encoded), output=str(output))


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, LengthsSpec.from_yaml, main))
