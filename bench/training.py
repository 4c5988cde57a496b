"""Comparison with TRL: ``python -m bench.training [--model NAME] [--rows N] [--rounds N] [--json FILE]``.

Three trainers, each in its own process, alternate on the same receipts, tokens, adapter and seed:

- ``studio``: ``python -m training.ml.train``, in the environment of a worker's child, with its events;
- ``plain``: TRL's SFTTrainer with the defaults of SFTConfig;
- ``tuned``: the same script tuned for a CPU (no gradient checkpointing, fp32, rows grouped by length).

Reports tokens per second (without padding and the first step), peak memory, the loss on receipts outside the training
data after the same tokens, and the share of this machine's matrix multiply throughput.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.harness import RECEIPTS, child_events, prepared, receipts, table, write_dataset
from slmstudio.runs.child_environment import cpu_settings
from training.spec import ContractRef, DatasetRef, Lora, ModelRef, RunSpec

CONTENDERS = ("studio", "plain", "tuned")
PACKAGED = {"smollm2-135m-instruct": "chat", "gemma-3-270m": "plain"}
WATCHED = 16  # receipts that the loss is measured on
MAX_VALUE_LENGTH = 1024  # where SFTConfig would cut


def main() -> None:
    """Prepares the model, runs the trainers in turns and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", choices=sorted(PACKAGED), help="default: all of them")
    parser.add_argument("--receipts", type=Path, default=RECEIPTS)
    parser.add_argument("--rows", type=int, default=48, help="receipts to train on, once")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each contender")
    parser.add_argument("--home", type=Path, help="keeps prepared models here (default: thrown away)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = [_model(name, options, work) for name in options.model or sorted(PACKAGED, reverse=True)]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _model(name: str, options: argparse.Namespace, work: Path) -> dict[str, Any]:
    folder = prepared(name, options.home or work)
    spec = _spec(name, folder, options, work)
    rows = _encoded(spec)
    turns: dict[str, list[dict[str, Any]]] = {contender: [] for contender in CONTENDERS}
    for turn in range(options.rounds):
        order = CONTENDERS[turn % 3 :] + CONTENDERS[: turn % 3]
        for contender in order:
            output = work / f"{name}-{contender}-{turn}"
            events = list(_studio(spec, output) if contender == "studio" else _script(contender, spec, rows, output))
            turns[contender].append(_figures(events))
            print(f"{name} {contender} {turn + 1}: {turns[contender][-1]}", file=sys.stderr, flush=True)
    losses = _losses(spec, rows, {contender: work / f"{name}-{contender}-0" for contender in CONTENDERS})
    result: dict[str, Any] = {
        "model": name,
        "rows": len(rows["train"]),
        "tokens": sum(len(row["input_ids"]) for row in rows["train"]),
    }
    result["contenders"] = {
        contender: {
            "tokens_per_second": statistics.median(turn["tokens_per_second"] for turn in turns[contender]),
            "peak_memory_bytes": max(turn["peak_memory_bytes"] for turn in turns[contender]),
            "loss": losses[contender],
            "turns": turns[contender],
        }
        for contender in CONTENDERS
    }
    result["multiply"] = _multiply(spec, rows, result["contenders"]["studio"]["tokens_per_second"])
    _print(result)
    return result


def _spec(name: str, folder: Path, options: argparse.Namespace, work: Path) -> RunSpec:
    """A run over receipts that are short enough for every trainer."""
    from labeling.demo.templates import template

    receipt = template("receipt")
    dataset = work / f"{name}.jsonl"
    spec = RunSpec(
        base_model=ModelRef(path=str(folder)),
        dataset=DatasetRef(path=str(dataset)),
        contract=ContractRef(instruction=receipt.instruction, schema=receipt.schema),
        output_dir="",
        prompt="chat" if PACKAGED[name] == "chat" else "plain",
        max_length=MAX_VALUE_LENGTH,
        lora=Lora(),
        batch_size=options.batch,
        epochs=1,
        learning_rate=1e-3,
        warmup_ratio=0,
        scheduler="linear",
        sample_documents=0,
        too_long="leave_out",
    )
    rows = receipts(options.receipts)
    write_dataset(dataset, {"train": rows[WATCHED : WATCHED + options.rows], "holdout": rows[:WATCHED]})
    return spec


def _encoded(spec: RunSpec) -> dict[str, list[dict[str, Any]]]:
    """The rows as token ids, and a mask of the labeled ones."""
    from training.ml.data.rows import compiled, of_split, read_rows
    from training.ml.lengths import encode_rows, load_encoder

    encoder, schema = load_encoder(spec.base_model.path, spec.prompt), compiled(spec.contract)
    rows = read_rows(spec.dataset.path)
    return {
        split: [
            {
                "input_ids": row.prompt + row.completion,
                "completion_mask": [0] * len(row.prompt) + [1] * len(row.completion),
            }
            for row in encode_rows(
                of_split(rows, split), instruction=spec.contract.instruction, schema=schema, encoder=encoder
            )
            if row.length <= MAX_VALUE_LENGTH
        ]
        for split in ("train", "holdout")
    }


def _studio(spec: RunSpec, output: Path) -> Iterator[dict[str, Any]]:
    from dataclasses import replace

    path = output.with_suffix(".yaml")
    path.write_text(replace(spec, output_dir=str(output)).to_yaml(), encoding="utf-8")
    before, last = 0.0, 0
    for event in child_events("training.ml.train", str(path), cpu_settings()):
        if event["event"] == "metrics":
            # The event has the tokens so far and the speed of its step.
            seconds = (event["tokens"] - last) / event["tokens_per_second"]
            before, last = before + seconds, event["tokens"]
            yield {"event": "step", "seconds": seconds, "tokens": last, "loss": event["loss"]}
        elif event["event"] == "done":
            yield event


def _script(kind: str, spec: RunSpec, rows: dict[str, Any], output: Path) -> Iterator[dict[str, Any]]:
    path = output.with_suffix(".json")
    work = {
        "kind": kind,
        "model": spec.base_model.path,
        "rows": rows["train"],
        "output": str(output),
        "steps": -(-len(rows["train"]) // spec.batch_size),
        "batch": spec.batch_size,
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
        "r": spec.lora.r,
        "alpha": spec.lora.alpha,
    }
    path.write_text(json.dumps(work), encoding="utf-8")
    return child_events("bench.training_plain", str(path))


def _figures(events: list[dict[str, Any]]) -> dict[str, Any]:
    steps = [event for event in events if event["event"] == "step"]
    tokens = steps[-1]["tokens"] - steps[0]["tokens"]
    seconds = sum(step["seconds"] for step in steps[1:])
    return {
        "tokens_per_second": round(tokens / seconds, 1),
        "tokens": steps[-1]["tokens"],
        "peak_memory_bytes": events[-1]["peak_memory_bytes"],
        "last_loss": steps[-1]["loss"],
    }


def _losses(spec: RunSpec, rows: dict[str, Any], folders: dict[str, Path]) -> dict[str, float]:
    """Mean loss in nats per token over the completions of receipts outside the training data, in fp32."""
    import torch
    from peft import PeftModel
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    losses = {}
    for name, folder in folders.items():
        base = AutoModelForCausalLM.from_pretrained(spec.base_model.path, dtype=torch.float32)
        adapter = folder / "adapter" if (folder / "adapter").is_dir() else folder
        model = PeftModel.from_pretrained(base, str(adapter)).eval()
        total, count = 0.0, 0
        with torch.inference_mode():
            for row in rows["holdout"]:
                ids = torch.tensor([row["input_ids"]])
                learned = sum(row["completion_mask"])
                logits = model(input_ids=ids, logits_to_keep=learned + 1).logits[0, :-1]
                total += float(functional.cross_entropy(logits, ids[0, -learned:], reduction="sum"))
                count += learned
        losses[name] = round(total / count, 4)
    return losses


def _multiply(spec: RunSpec, rows: dict[str, Any], speed: float) -> dict[str, Any]:
    """Operations per token of the matrix products of a LoRA step, and this machine's rate for them.

    Forward pass and activation gradients of every frozen matrix (4 operations per weight and token), the adapters (6),
    attention (forward 4 and backward 8 per pair of positions, head size and head, for half of the square), and the
    output layer for labeled tokens. The limit is the rate of products of the model's own shapes.
    """
    import torch
    from transformers import AutoConfig

    from training.ml.hardware.device import pick_device, resolve_precision, set_threads

    set_threads()
    device = pick_device()
    precision = resolve_precision("auto", device)
    config = AutoConfig.from_pretrained(spec.base_model.path)
    hidden, wide, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    size = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    shapes = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
    shapes += [(hidden, wide), (hidden, wide), (wide, hidden)]
    lengths = [len(row["input_ids"]) for row in rows["train"]]
    learned = sum(sum(row["completion_mask"]) for row in rows["train"])
    tokens = sum(lengths)
    matrices = 4 * layers * sum(a * b for a, b in shapes)
    adapters = 6 * layers * sum(spec.lora.r * (a + b) for a, b in shapes)
    attention = 12 * layers * queries * sum(length * length / 2 for length in lengths) / tokens
    head = 4 * hidden * config.vocab_size * learned / tokens
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    at_once = spec.batch_size * tokens // len(lengths)
    limit = _limit(shapes, at_once, dtype, device)
    needed = matrices + adapters + attention + head
    return {
        "precision": precision,
        "operations_per_token": round(needed),
        "limit_gflops": round(limit / 1e9, 1),
        "reached_gflops": round(needed * speed / 1e9, 1),
        "share": round(needed * speed / limit, 3),
    }


def _limit(shapes: list[tuple[int, int]], rows: int, dtype: Any, device: Any) -> float:
    """Operations per second of a model's matrix products over ``rows`` tokens, the best of several."""
    import torch

    pairs = [
        (torch.randn(rows, a, dtype=dtype, device=device), torch.randn(b, a, dtype=dtype, device=device))
        for a, b in shapes
    ]
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        for left, right in pairs:
            left @ right.T
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        best = max(best, sum(2 * rows * a * b for a, b in shapes) / seconds)
    return best


def _print(result: dict[str, Any]) -> None:
    contenders = result["contenders"]
    speed = contenders["studio"]["tokens_per_second"]
    rows = [
        (
            name, f"{figures['tokens_per_second']:.0f}", f"{speed / figures['tokens_per_second']:.2f} x",
            f"{figures['peak_memory_bytes'] / 1e9:.2f} GB", f"{figures['loss']:.4f}",
        )
        for name, figures in contenders.items()
    ]  # fmt: skip
    title = f"{result['model']}: {result['rows']} receipts, {result['tokens']:,} tokens"
    print(table(title, ["contender", "tokens/s", "studio is", "peak memory", "loss after"], rows))
    multiply = result["multiply"]
    print(
        f"{multiply['reached_gflops']} of {multiply['limit_gflops']} GFLOP/s in {multiply['precision']}: "
        f"{100 * multiply['share']:.0f}% of the machine's matrix multiply\n"
    )


if __name__ == "__main__":
    main()
