"""Micro-batches train like the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.ml.test_train import run
from tests.training.ml_data import named
from training.estimates import memory
from training.estimates.memory import MICRO_BATCH_TOKENS, micro_batch_rows
from training.ml.loop import trainer
from training.ml.loop.trainer import micro_batches


@pytest.mark.parametrize(
    ("longest", "rows"),
    [
        (1, MICRO_BATCH_TOKENS),
        (100, 10),
        (MICRO_BATCH_TOKENS // 2, 2),
        (MICRO_BATCH_TOKENS, 1),
        (5 * MICRO_BATCH_TOKENS, 1),
    ],
)
def test_micro_batch_holds_as_many_rows_as_fit(longest: int, rows: int) -> None:
    assert micro_batch_rows(longest) == rows


def test_every_token_is_in_one_micro_batch_without_extra_padding() -> None:
    lengths = [300, 400, 450, 500, 900]
    mask = torch.tensor([[int(place < length) for place in range(900)] for length in lengths])
    ids = torch.arange(5 * 900).view(5, 900) * mask
    found = list(micro_batches({"input_ids": ids, "attention_mask": mask}))
    assert [tuple(one["input_ids"].shape) for one in found] == [(1, length) for length in lengths]
    for one, row, length in zip(found, ids, lengths, strict=True):
        assert torch.equal(one["input_ids"][0], row[:length])

    short = {"input_ids": ids[:3, :450], "attention_mask": mask[:3, :450]}
    assert [tuple(one["input_ids"].shape) for one in micro_batches(short)] == [(2, 400), (1, 450)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_micro_batches_match_a_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    rows_at_once: list[int] = []
    summed = trainer.summed_loss

    def watched(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        rows_at_once.append(inputs["input_ids"].shape[0])
        return summed(model, inputs)

    monkeypatch.setattr(trainer, "summed_loss", watched)
    changes: dict[str, Any] = {"batch_size": 4, "max_steps": 4, "eval_every": 2, "method": method}
    monkeypatch.setattr(memory, "MICRO_BATCH_TOKENS", 100_000)
    whole = run(tmp_path / "whole", **changes)
    assert max(rows_at_once) == 4
    rows_at_once.clear()
    monkeypatch.setattr(memory, "MICRO_BATCH_TOKENS", 1)
    parts = run(tmp_path / "parts", **changes)
    assert max(rows_at_once) == 1
    for one, other in zip(named(whole, "metrics"), named(parts, "metrics"), strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)
    for one, other in zip(named(whole, "validation"), named(parts, "validation"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    assert named(whole, "validation")
