"""QLoRA without CUDA: rejections, and the requested settings."""

from pathlib import Path

import pytest
import torch

from slmstudio.errors import Refused
from tests.training.ml.test_train import spec_in
from training.ml.modeling import quantization


def test_qlora_needs_cuda_and_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="method: qlora needs a CUDA device"):
        quantization.check_qlora(spec_in(tmp_path, method="qlora"), torch.device("cpu"))
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(Refused, match="pip install bitsandbytes"):
        quantization.check_qlora(spec_in(tmp_path, method="qlora"), torch.device("cuda"))
    quantization.check_qlora(spec_in(tmp_path, method="lora"), torch.device("cuda"))


def test_base_is_stored_in_nf4_and_computed_in_the_run_precision() -> None:
    config = quantization.config("bf16")
    assert (config.load_in_4bit, config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == (True, "nf4", True)
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert quantization.config("fp16").bnb_4bit_compute_dtype == torch.float16


def test_adapter_weights_are_trained_in_fp32() -> None:
    model = torch.nn.Linear(2, 2).to(torch.bfloat16)
    model.bias.requires_grad = False
    quantization.cast_trainable_to_fp32(model)
    assert (model.weight.dtype, model.bias.dtype) == (torch.float32, torch.bfloat16)
