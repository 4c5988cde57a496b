"""The fused LoRA layer matches PEFT, and leaves other adapter types to it."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from tests.training.ml_data import tiny
from training.ml.modeling.fused_lora import fuse_lora

IDS = torch.randint(5, 100, (2, 40), generator=torch.Generator().manual_seed(3))


def adapted(**options: Any) -> Any:
    """A model with an adapter that already does something."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(tiny(), dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **options))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


def learned(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def test_loss_and_gradients_match_peft() -> None:
    loss, gradients = learned(adapted())
    fused = adapted()
    assert fuse_lora(fused) == len(gradients) // 2 > 0
    fused_loss, again = learned(fused)
    assert fused_loss == pytest.approx(loss, rel=1e-5)
    assert again.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-3, atol=1e-6)


def test_disabled_adapter_stays_disabled_and_a_merged_model_matches_it() -> None:
    model = adapted().eval()
    with model.disable_adapter():
        without = model(input_ids=IDS).logits
    fuse_lora(model)
    with model.disable_adapter():
        torch.testing.assert_close(model(input_ids=IDS).logits, without)
    before = model(input_ids=IDS).logits
    assert not torch.allclose(before, without)
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(input_ids=IDS).logits, before, rtol=1e-3, atol=1e-4)


def test_other_adapter_types_are_left_to_peft() -> None:
    for options in ({"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}):
        assert fuse_lora(adapted(**options)) == 0, options
