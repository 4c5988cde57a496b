"""The loss on completion tokens, and batches of similar lengths."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tests.training.ml_data import tiny
from training.ml.loop.resumable_trainer import LengthGroupedSampler
from training.ml.loop.trainer import CompletionTrainer


class Half:
    """Just enough of a trainer for ``compute_loss``."""

    def __init__(self, model: Any) -> None:
        self.model = model.train()
        self.tokens_seen = 0
        self.args = SimpleNamespace(world_size=1)


def loss_of(trainer: Half, inputs: dict[str, torch.Tensor], **more: Any) -> torch.Tensor:
    unbound: Any = CompletionTrainer.compute_loss
    return unbound(trainer, trainer.model, dict(inputs), **more)


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 370, (3, 20), generator=generator)
    labels = ids.clone()
    mask = torch.ones_like(ids)
    for row, (prompt, end) in enumerate([(5, 20), (12, 17), (9, 11)]):
        labels[row, :prompt] = -100
        labels[row, end:] = -100
        mask[row, end:] = 0
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


def test_loss_and_gradients_match_the_model() -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny())
    inputs = batch()
    expected = model(**inputs).loss
    expected.backward()
    wanted = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    trainer = Half(model)
    loss = loss_of(trainer, inputs)
    loss.backward()
    assert torch.allclose(loss, expected, atol=1e-6)
    for name, weight in model.named_parameters():
        assert torch.allclose(weight.grad, wanted[name], atol=1e-6), name
    assert trainer.tokens_seen == 20 + 17 + 11
    counted = int((inputs["labels"][:, 1:] != -100).sum())
    shared = loss_of(trainer, inputs, num_items_in_batch=4 * counted)
    assert torch.allclose(4 * shared, loss), "averaged over all tokens of a step"


def test_rows_come_once_an_epoch_in_a_reproducible_order() -> None:
    lengths = [17 * index % 101 for index in range(50)]
    first, second = LengthGroupedSampler(lengths, 4, seed=1), LengthGroupedSampler(lengths, 4, seed=1)
    epochs = [list(first), list(first)]
    assert all(sorted(order) == list(range(50)) for order in epochs)
    assert epochs[0] != epochs[1]
    assert [list(second), list(second)] == epochs
    assert list(LengthGroupedSampler(lengths, 4, seed=2)) != epochs[0]


def test_batches_group_similar_lengths_in_random_order() -> None:
    lengths = [31 * index % 257 for index in range(256)]
    order = list(LengthGroupedSampler(lengths, 4, seed=5))
    batches = [[lengths[index] for index in order[at : at + 4]] for at in range(0, 256, 4)]
    spread = sum(max(rows) - min(rows) for rows in batches) / len(batches)
    assert spread < 40  # at random it is about 155
    means = [sum(rows) / 4 for rows in batches]
    rises = sum(later > earlier for earlier, later in pairwise(means))
    assert 20 < rises < 44
