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


def test_micro_batch_holds_as_many_rows_as_fit() -> None:
    lengths = (1, 100, MICRO_BATCH_TOKENS // 2, MICRO_BATCH_TOKENS, 5 * MICRO_BATCH_TOKENS)
    assert [micro_batch_rows(longest) for longest in lengths] == [MICRO_BATCH_TOKENS, 10, 2, 1, 1]


def test_every_token_is_in_one_micro_batch_without_extra_padding() -> None:
    lengths = [300, 400, 450, 500, 900]
    mask = torch.tensor([[int(place < length) for place in range(900)] for length in lengths])
    ids = torch.arange(5 * 900).view(5, 900) * mask
    parts = list(micro_batches({"input_ids": ids, "attention_mask": mask}))
    assert [tuple(part["input_ids"].shape) for part in parts] == [(1, length) for length in lengths]
    for part, row, length in zip(parts, ids, lengths, strict=True):
        assert torch.equal(part["input_ids"][0], row[:length])

    short = {"input_ids": ids[:3, :450], "attention_mask": mask[:3, :450]}
    assert [tuple(part["input_ids"].shape) for part in micro_batches(short)] == [(2, 400), (1, 450)]


@pytest.mark.slow
def test_micro_batches_match_a_whole_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows_at_once: list[int] = []
    summed = trainer.summed_loss

    def watched(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        rows_at_once.append(inputs["input_ids"].shape[0])
        return summed(model, inputs)

    monkeypatch.setattr(trainer, "summed_loss", watched)
    changes: dict[str, Any] = {"batch_size": 4, "max_steps": 2, "eval_every": 2, "sample_documents": 0}
    monkeypatch.setattr(memory, "MICRO_BATCH_TOKENS", 100_000)
    whole = run(tmp_path / "whole", **changes)
    assert max(rows_at_once) == 4
    rows_at_once.clear()
    monkeypatch.setattr(memory, "MICRO_BATCH_TOKENS", 1)
    parts = run(tmp_path / "parts", **changes)
    assert max(rows_at_once) == 1
    for at_once, in_parts in zip(named(whole, "metrics"), named(parts, "metrics"), strict=True):
        assert at_once["tokens"] == in_parts["tokens"]
        assert at_once["loss"] == pytest.approx(in_parts["loss"], rel=1e-4)
        assert at_once["grad_norm"] == pytest.approx(in_parts["grad_norm"], rel=1e-3)
    for at_once, in_parts in zip(named(whole, "validation"), named(parts, "validation"), strict=True):
        assert at_once["loss"] == pytest.approx(in_parts["loss"], rel=1e-4)
    assert named(whole, "validation")
