"""QLoRA (arXiv:2305.14314): an adapter is trained on a base model in 4 bits.

The 4 bits are used in training only. The adapter is saved in fp32 and merged into the full-precision base, so the
result can be exported like that of any other run.
"""

from importlib.util import find_spec
from typing import Any

import torch
from peft import prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from slmstudio.errors import Refused
from training.spec import RunSpec


def check_qlora(spec: RunSpec, device: torch.device) -> None:
    """Raises Refused where this machine cannot train in 4 bits."""
    if spec.method != "qlora":
        return
    if device.type != "cuda":
        raise Refused("method: qlora needs a CUDA device, and this machine has none. Choose lora.", code="method")
    if find_spec("bitsandbytes") is None:
        raise Refused(
            "method: qlora needs the package bitsandbytes (pip install bitsandbytes). Or choose lora.", code="method"
        )


def config(precision: str) -> BitsAndBytesConfig:
    """NF4 with double quantization, computed in the run's precision."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=_compute(precision),
    )


def load(spec: RunSpec, precision: str, device: int | str) -> Any:
    """The base in 4 bits on one device, frozen; norms and embeddings in fp32."""
    model = AutoModelForCausalLM.from_pretrained(
        spec.base_model.path,
        quantization_config=config(precision),
        dtype=_compute(precision),
        device_map={"": device},
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
    )
    return prepare_model_for_kbit_training(
        model,
        use_gradient_checkpointing=spec.activation_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
    )


def parameter_count(parameter: torch.nn.Parameter) -> int:
    """Number of values of a parameter: a byte holds two of 4 bits."""
    return int(parameter.numel()) * (2 if type(parameter).__name__ == "Params4bit" else 1)


def cast_trainable_to_fp32(model: Any) -> None:
    """Adapter weights in fp32, as in every other run. TRL holds them in bf16, which fp16's gradient scaler cannot
    unscale."""
    for weights in model.parameters():
        if weights.requires_grad:
            weights.data = weights.data.float()


def _compute(precision: str) -> torch.dtype:
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
