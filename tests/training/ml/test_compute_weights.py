"""Copies of the weights in bf16: the gradients of autocast, bit for bit, and weights that are given back."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.ml_data import tiny
from training.ml.loop.trainer import summed_loss
from training.ml.modeling.attention import blockwise_attention
from training.ml.modeling.compute_weights import ComputeWeights, linear_layers


@pytest.fixture
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny(), dtype=torch.float32)


def gradients(model: Any, weights: ComputeWeights | None) -> list[torch.Tensor]:
    """Of three micro-batches of different lengths."""
    model.zero_grad()
    with weights.in_use() if weights else nullcontext(), blockwise_attention(model.config):
        for length in (40, 71, 9):
            torch.manual_seed(length)
            ids = torch.randint(5, 100, (2, length))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = summed_loss(model, {"input_ids": ids, "labels": ids})
            loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_gradients_are_those_of_autocast(model: Any) -> None:
    weights = ComputeWeights(linear_layers(model), torch.bfloat16)
    for _ in range(2):  # steps
        expected, computed = gradients(model, None), gradients(model, weights)
        assert all(torch.equal(*pair) for pair in zip(computed, expected, strict=True))
        assert {gradient.dtype for gradient in computed} == {torch.float32}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad


def test_weights_are_given_back_after_an_error(model: Any) -> None:
    before = {name: id(weight) for name, weight in model.named_parameters()}
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    weights = ComputeWeights(linear_layers(model), torch.bfloat16)

    def fail() -> None:
        with weights.in_use():
            used = {weight.dtype for name, weight in model.named_parameters() if name.endswith("_proj.weight")}
            assert used == {torch.bfloat16}
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert {name: id(weight) for name, weight in model.named_parameters()} == before
    assert all(torch.equal(weight, state[name]) for name, weight in model.state_dict().items())
