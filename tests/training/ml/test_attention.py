"""Blockwise attention matches torch: values, gradients, windows, grouped heads."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.training.ml_data import tiny
from training.ml.modeling import attention
from training.ml.modeling.attention import attend, blockwise_attention


def heads(count: int, length: int) -> torch.Tensor:
    return torch.randn(2, count, length, 8, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("window", [None, 5, 40, 1000])
@pytest.mark.parametrize("length", [1, 32, 33, 100])
def test_values_and_gradients_match_torch(length: int, window: int | None) -> None:
    torch.manual_seed(length)
    query, key, value = heads(6, length), heads(2, length), heads(2, length)
    places = torch.arange(length)
    visible = places <= places[:, None]
    if window:
        visible &= places > places[:, None] - window
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible, enable_gqa=True)
    given: Any = attend(None, query, key, value, None, sliding_window=window)[0].transpose(1, 2)
    torch.testing.assert_close(given, expected)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (query, key, value), weights)
    torch.testing.assert_close(torch.autograd.grad(given, (query, key, value), weights), wanted)


def test_mask_or_cache_is_rejected() -> None:
    query, key = heads(2, 4), heads(2, 6)
    with pytest.raises(ValueError, match="whole rows"):
        attend(None, query, key, key, None)
    with pytest.raises(ValueError, match="whole rows"):
        attend(None, query, query, query, torch.ones(4, 4))


def test_training_result_matches_and_attention_is_restored(monkeypatch: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny(), dtype=torch.float32)
    ids = torch.randint(5, 100, (3, 70))
    usual = model(input_ids=ids, labels=ids, use_cache=False).loss
    usual.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    calls = []
    real = attention.BlockwiseAttention.apply

    def counted(*args: Any) -> Any:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(attention.BlockwiseAttention, "apply", counted)
    with blockwise_attention(model.config):
        blocked = model(input_ids=ids, labels=ids, use_cache=False).loss
        blocked.backward()
    assert len(calls) == model.config.num_hidden_layers
    torch.testing.assert_close(blocked, usual)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
    model(input_ids=ids, labels=ids)
    assert len(calls) == model.config.num_hidden_layers


def test_unsupported_architecture_is_left_alone() -> None:
    from transformers import Gemma2Config

    config = Gemma2Config(attn_implementation="sdpa")  # caps its scores
    with blockwise_attention(config):
        assert config._attn_implementation == "sdpa"
