"""Measured peak memory of the trainer, compared with ``training.estimates.memory``.

``python -m bench.memory MODEL_FOLDER``: each point trains two steps on rows of one length in its own process, with the
memory settings of a worker's child. ``--points`` selects some of them by name. ``--steps 60`` trains on rows of a
quarter of the length and more: only then memory is fragmented as in a real run. In two steps a run in bf16 needs less
than estimated.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from slmstudio.runs.child_environment import cpu_settings
from training.estimates.memory import training_memory
from training.hyperparameters.definitions import Hyperparameters
from training.model_shape import ModelShape
from training.spec import RunSpec
from training.strict_yaml import build

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 4000}},
    "required": ["answer"],
    "additionalProperties": False,
}
SENTENCE = "the total of the receipt is due on the day and at the place that is printed on it "
LORA = Hyperparameters(precision="bf16")
#: name: hyperparameters (batch_size, max_length as the rows' own length), answer as a share of the row
POINTS: dict[str, Hyperparameters] = {
    "lora-1x512": replace(LORA, batch_size=1, max_length=512),
    "lora-4x512": replace(LORA, batch_size=4, max_length=512),
    "lora-8x512": replace(LORA, batch_size=8, max_length=512),
    "lora-2x1024": replace(LORA, batch_size=2, max_length=1024),
    "lora-4x1024": replace(LORA, batch_size=4, max_length=1024),
    "lora-1x2048": replace(LORA, batch_size=1, max_length=2048),
    "lora-4x512-fp32": replace(LORA, batch_size=4, max_length=512, precision="fp32"),
    "lora-4x512-again": replace(LORA, batch_size=4, max_length=512, activation_checkpointing=True),
    "lora-8x512-again": replace(LORA, batch_size=8, max_length=512, activation_checkpointing=True),
    "lora-r64-4x512": replace(LORA, batch_size=4, max_length=512, lora_r=64, lora_alpha=128),
    "full-1x512": replace(LORA, method="full", batch_size=1, max_length=512, learning_rate=1e-4),
    "full-4x512": replace(LORA, method="full", batch_size=4, max_length=512, learning_rate=1e-4),
    "full-4x512-fp32": replace(LORA, method="full", batch_size=4, max_length=512, precision="fp32"),
    "full-4x512-again": replace(LORA, method="full", batch_size=4, max_length=512, activation_checkpointing=True),
}
ANSWER = 100


def measure(model: Path, hyperparameters: Hyperparameters, steps: int) -> tuple[int, int, int, int]:
    """Longest row and longest output in tokens, peak bytes of the steps, peak bytes of the whole run."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    words = len(tokenizer(SENTENCE)["input_ids"])
    sentences = max(1, (hyperparameters.max_length - ANSWER - 60) // words)
    shortest = sentences if steps <= 2 else max(1, sentences // 4)
    gold = {"answer": (SENTENCE * (ANSWER // words)).strip()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            {
                "id": f"r{n}",
                "split": "train",
                "text": SENTENCE * (sentences - n % (sentences - shortest + 1)),
                "gold": gold,
            }
            for n in range(steps * hyperparameters.batch_size)
        ]
        (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        spec = build(RunSpec, _spec(model, folder, hyperparameters, steps))
        (folder / "spec.yaml").write_text(spec.to_yaml())
        done = subprocess.run(
            [sys.executable, "-m", "training.ml.train", str(folder / "spec.yaml")],
            capture_output=True, text=True, check=False, env={**cpu_settings(), **os.environ},
        )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    metrics = [event for event in events if event["event"] == "metrics"]
    ended = [event for event in events if event["event"] == "done"]
    if not metrics or not ended:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    start = next(event for event in events if event["event"] == "start")
    answer = len(tokenizer(json.dumps(gold))["input_ids"]) + 1
    peak = ended[-1].get("peak_memory_bytes", 0)
    return start["longest"], answer, max(event["memory_bytes"] for event in metrics), peak


def _spec(model: Path, folder: Path, hyperparameters: Hyperparameters, steps: int) -> dict[str, Any]:
    return {
        "base_model": {"path": str(model)},
        "dataset": {"path": str(folder / "data.jsonl")},
        "contract": {"instruction": "Answer.", "schema": SCHEMA},
        "output_dir": str(folder / "out"),
        "prompt": "chat" if (model / "chat_template.jinja").is_file() else "plain",
        "method": hyperparameters.method,
        "lora": {"r": hyperparameters.lora_r, "alpha": hyperparameters.lora_alpha, "dropout": 0.0},
        "max_length": hyperparameters.max_length + 64,
        "batch_size": hyperparameters.batch_size,
        "learning_rate": hyperparameters.learning_rate,
        "max_steps": steps,
        "precision": hyperparameters.precision,
        "activation_checkpointing": hyperparameters.activation_checkpointing,
    }


def main() -> None:
    """Prints a line for each point, and the mean and worst error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--points", nargs="*", default=list(POINTS))
    parser.add_argument("--steps", type=int, default=2)
    chosen = parser.parse_args()
    shape = ModelShape.from_config(json.loads((chosen.model / "config.json").read_text()))
    errors = []
    for name in chosen.points:
        hyperparameters = POINTS[name]
        longest, answer, peak, whole = measure(chosen.model, hyperparameters, chosen.steps)
        parts = training_memory(
            shape, method=hyperparameters.method, hyperparameters=hyperparameters, longest=longest,
            precision=hyperparameters.precision, device="cpu", answer=answer,
        )  # fmt: skip
        estimated = sum(part.bytes for part in parts)
        errors.append(estimated / (whole or peak) - 1)
        parts_mb = {part.title: round(part.bytes / 1e6) for part in parts}
        print(
            f"{name:20} {longest:5} tokens, answer {answer:4}: {peak / 1e9:6.2f} GB (whole run {whole / 1e9:5.2f}), "
            f"estimated {estimated / 1e9:6.2f} GB, {100 * errors[-1]:+5.0f}%  {parts_mb}",
            flush=True,
        )
    print(f"mean error {100 * sum(map(abs, errors)) / len(errors):.0f}%, worst {100 * max(map(abs, errors)):.0f}%")


if __name__ == "__main__":
    main()
