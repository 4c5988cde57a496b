"""Token lengths of a dataset under one model: ``python -m training.ml.lengths SPEC.yaml``.

Writes one JSON object a line to ``output`` (id, split, prompt, completion; the first row of each split also with
``seen``, the texts of both as the model reads them) and ends with ``done``: rows, output.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.windows.windows import Window
from training.ml.data.encoder import Encoder
from training.ml.data.rows import Row, compiled, read_rows
from training.ml.events import Emitter, run_child
from training.ml.modeling.folder_checks import check_ref, is_encoder
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
    """The child process. For an encoder a row is its document, with nothing to complete."""
    config = check_ref(spec.base_model)
    rows = read_rows(spec.dataset.path, spec.dataset.sha256)
    measured = _encoder_lengths(spec, rows) if is_encoder(config) else _decoder_lengths(spec, rows)
    output = Path(spec.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    sampled: set[str] = set()
    with output.open("w", encoding="utf-8") as file:
        for row, values, seen in measured:
            line: dict[str, Any] = {"id": row.id, "split": row.split, **values}
            if row.split not in sampled:
                sampled.add(row.split)
                line["seen"] = seen()
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    emitter.emit("done", rows=len(rows), output=str(output))


Measured = tuple[Row, dict[str, int], Callable[[], dict[str, str]]]


def _decoder_lengths(spec: LengthsSpec, rows: list[Row]) -> Iterator[Measured]:
    encoder = load_encoder(spec.base_model.path, spec.prompt)
    encoded = encode_rows(rows, instruction=spec.contract.instruction, schema=compiled(spec.contract), encoder=encoder)

    def seen(row: EncodedRow) -> dict[str, str]:
        texts = {"prompt": row.prompt, "completion": row.completion}
        return {name: encoder.text_with_special_tokens(tokens) for name, tokens in texts.items()}

    for row in encoded:
        lengths = {"prompt": len(row.prompt), "completion": len(row.completion)}
        yield row.row, lengths, partial(seen, row)


def _encoder_lengths(spec: LengthsSpec, rows: list[Row]) -> Iterator[Measured]:
    from training.ml.encoders.task import load_tokenizer
    from training.ml.encoders.windows import line_break_of, windows_of

    tokenizer = load_tokenizer(Path(spec.base_model.path))
    backend = tokenizer.backend_tokenizer
    line_break = line_break_of(backend)

    def seen(tokens: list[int]) -> dict[str, str]:
        return {"prompt": tokenizer.decode(tokens), "completion": ""}

    for row in rows:
        [whole] = windows_of(backend, row.text, sys.maxsize, line_break)
        tokens = whole.tokens
        yield row, {"prompt": len(tokens), "completion": 0}, partial(seen, tokens)


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, LengthsSpec.from_yaml, main))
