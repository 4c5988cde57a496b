"""A TRL script for comparison: ``python -m bench.training_plain WORK.json``.

``kind: plain`` uses the defaults of SFTConfig; ``kind: tuned`` is tuned for a CPU: no gradient checkpointing, fp32,
rows grouped by length. Model, rows, adapter, batch size, learning rate and seed come from the work file. Emits ``step``
(seconds, tokens, loss) after each step and ``done`` (peak memory) as JSON lines; saves the adapter.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from slmstudio.workers.hardware import peak_resident_bytes

TUNED = {"gradient_checkpointing": False, "bf16": False, "train_sampling_strategy": "group_by_length"}


class Clock(TrainerCallback):
    """Emits time and tokens of each step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self.began

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "num_tokens" in logs and "loss" in logs:
            emit("step", seconds=self.seconds, tokens=logs["num_tokens"], loss=float(logs["loss"]))


def emit(event: str, **values: Any) -> None:
    """Writes one event to standard output."""
    print(json.dumps({"event": event, **values}), flush=True)


def main() -> None:
    """Trains with the values of the work file."""
    work = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(work["model"], dtype=torch.float32)
    cuda = torch.cuda.is_available()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=work["output"],
            use_cpu=not cuda,
            max_steps=work["steps"],
            completion_only_loss=True,  # found out by itself only where prompts and completions are texts
            per_device_train_batch_size=work["batch"],
            learning_rate=work["learning_rate"],
            seed=work["seed"],
            data_seed=work["seed"],
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            **(TUNED if work["kind"] == "tuned" and not cuda else {}),
        ),
        train_dataset=Dataset.from_list(work["rows"]),
        processing_class=AutoTokenizer.from_pretrained(work["model"]),
        peft_config=LoraConfig(
            r=work["r"], lora_alpha=work["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[Clock()],
    )
    trainer.train()
    trainer.model.save_pretrained(work["output"])
    peak = torch.cuda.max_memory_allocated() if cuda else peak_resident_bytes()
    emit("done", peak_memory_bytes=peak)


if __name__ == "__main__":
    main()
