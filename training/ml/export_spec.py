"""Export of a run for another trainer: ``python -m training.ml.export_spec SPEC.yaml``.

Writes train.jsonl and validation.jsonl (texts with exactly the token ids of the studio's trainer, checked row by row),
tokens.json (the hashes of those ids), and the configuration or script. Event ``done``: train, validation, left_out
(dropped rows over the sequence length), longest. Before it ``validation`` {ok, version, rows, on, error} where the spec
names an environment with the trainer.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slmstudio.contract.windows.gold import window_schema
from slmstudio.errors import Refused
from slmstudio.workers.hardware import on_allowed_cores
from training.exports.child_specs import TrainerSpec
from training.exports.trainers.base import RowCounts, Trainer
from training.exports.trainers.registry import TRAINERS
from training.ml.data.encoded_dataset import load_dataset
from training.ml.data.encoder import Encoder
from training.ml.data.rows import compiled
from training.ml.events import Emitter, run_child
from training.ml.lengths import EncodedRow, load_encoder
from training.ml.loop.artifacts import write_json
from training.ml.modeling.folder_checks import check_ref

CHECK = "check.py"


class TokenExactTexts:
    """Prompts and completions as texts that tokenize to exactly the ids of an encoded row."""

    def __init__(self, encoder: Encoder, instruction: str) -> None:
        self._encoder = encoder
        self._instruction = instruction
        tokenizer = encoder.tokenizer
        self._beginning = str(tokenizer.bos_token) if encoder.adds_bos else ""
        self._end = str(tokenizer.convert_ids_to_tokens(encoder.end_id))

    def of(self, row: EncodedRow, answer: str) -> tuple[str, str]:
        """Prompt and completion of a row. Raises Refused where they tokenize differently."""
        prompt = self._encoder.text(instruction=self._instruction, document=row.row.text)
        texts = self._beginning + prompt, answer + self._end
        for text, ids in zip(texts, (row.prompt, row.completion), strict=True):
            if list(self._encoder.tokenizer(text, add_special_tokens=False)["input_ids"]) != ids:
                raise Refused(
                    f"Document {row.row.id} cannot be written as text with the same tokens, so another trainer would "
                    "train on other data.",
                    code="tokens",
                )
        return texts


def main(spec: TrainerSpec, emitter: Emitter) -> None:
    """The child process."""
    run, trainer = spec.run, TRAINERS[spec.trainer]
    check_ref(run.base_model)
    schema = compiled(run.contract)
    encoder = load_encoder(run.base_model.path, run.prompt)
    output = Path(spec.output_dir)
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    texts = TokenExactTexts(encoder, run.contract.instruction)
    hashes: dict[str, dict[str, Any]] = {}
    data = load_dataset(run, schema, encoder)
    kept = {"train": data.train, "validation": data.validation}
    part_schema = window_schema(schema)
    for split, rows in kept.items():
        answers = ((schema if row.of is None else part_schema).canonical(row.row.gold) for row in rows)
        lines = (trainer.row(*texts.of(row, answer)) for row, answer in zip(rows, answers, strict=True))
        _write(output / f"{split}.jsonl", lines)
        hashes[split] = {"rows": len(rows), "sha256": _hash(rows)}
    counts = RowCounts(
        train=len(kept["train"]),
        validation=len(kept["validation"]),
        steps=run.steps(len(kept["train"])),
        eval_steps=run.eval_interval(len(kept["train"])),
        longest=max(row.length for part in kept.values() for row in part),
    )
    write_json(output / "tokens.json", hashes)
    for name, text in trainer.files(spec, counts).items():
        (output / name).write_text(text, encoding="utf-8")
    if trainer.check is not None:
        shutil.copyfile(trainer.check, output / CHECK)
    for path in output.iterdir():
        path.chmod(0o644)
    if spec.checker:
        emitter.emit("validation", **_validate(trainer, spec, output))
    emitter.emit(
        "done", train=counts.train, validation=counts.validation, left_out=len(data.left_out), longest=counts.longest
    )


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _hash(rows: list[EncodedRow]) -> str:
    """SHA-256 over the ids and labels of the rows, in order, as JSON."""
    digest = hashlib.sha256()
    for row in rows:
        labels = [-100] * len(row.prompt) + row.completion
        digest.update(json.dumps([row.prompt + row.completion, labels]).encode())
    return digest.hexdigest()


def _validate(trainer: Trainer, spec: TrainerSpec, output: Path) -> dict[str, Any]:
    """Validates the folder with the trainer itself. Raises Refused where that rejects it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = on_allowed_cores([spec.checker, str(output / CHECK), str(output), spec.run.base_model.path])
    on = datetime.now(UTC).date().isoformat()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=sys.stderr, env=environment, timeout=600)
        result = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"ok": False, "on": on, "error": f"{spec.checker} could not validate it: {error}"[:500]}
    if not result["ok"]:
        raise Refused(f"{trainer.title} rejects the export: {result['error']}", code=trainer.name)
    return {**result, "on": on}


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, TrainerSpec.from_yaml, main))
