"""Throughput of training and serving: operations per token, and rates of hardware without measurements. Pure."""

from typing import TYPE_CHECKING

from training.hyperparameters.definitions import ENCODER_WINDOW, Hyperparameters
from training.model_shape import ModelShape

if TYPE_CHECKING:
    from slmstudio.workers.hardware import Hardware

#: seconds until a run has loaded its data and model
STARTUP_SECONDS = 20.0
#: assumed share of a row's tokens that have logits
SCORED_SHARE = 0.2
#: bytes per second at which weights are read while tokens are generated
CPU_BYTES_PER_SECOND, GPU_BYTES_PER_SECOND = 12e9, 1e12
#: overhead in seconds per generated token: Python, kernel launches, token selection
SECONDS_PER_TOKEN = 0.008
#: floating point operations per second of a core and of a GPU. Training SmolLM2 reached 102e9 per core in bf16 and 82e9
#: in fp32 with AVX-512; cores without it are half as fast. The GPU is not measured.
CORE_BF16_FLOPS, CORE_FP32_FLOPS, GPU_FLOPS = 90e9, 50e9, 60e12


def flops_per_token(shape: ModelShape, hyperparameters: Hyperparameters, length: float) -> float:
    """Floating point operations per token of a row of ``length`` tokens, forward and backward.

    Per weight: two forward, two for the gradient of the input, two for the gradient of a trained weight, and two more
    with gradient checkpointing. Attention covers half of the row on average, all of it in an encoder, whose heads are
    small. QLoRA dequantizes its weights each time, about a third more.
    """
    attended = length if shape.encoder else length / 2
    window = min(attended, shape.window or attended)
    attention = 4 * window * shape.attention_width * shape.layers
    head = 0 if shape.encoder else shape.vocabulary * shape.hidden * SCORED_SHARE
    again = 1 if hyperparameters.activation_checkpointing else 0
    if hyperparameters.method == "full":
        return (6 + 2 * again) * shape.body + 6 * head + (3 + again) * attention
    adapter = shape.adapter_parameters(hyperparameters.lora_r)
    total = (4 + 2 * again) * shape.body + 4 * head + (6 + 2 * again) * adapter + (3 + again) * attention
    return total * (1.3 if hyperparameters.method == "qlora" else 1)


def scaled_throughput(
    speed: float, shape: ModelShape, then: Hyperparameters, now: Hyperparameters, length: float
) -> float:
    """Tokens per second with the hyperparameters ``now``, from a ``speed`` measured with ``then``."""
    return (
        speed * flops_per_token(shape, then, length) / flops_per_token(shape, now, length) * now.devices / then.devices
    )


def estimated_throughput(
    shape: ModelShape, hyperparameters: Hyperparameters, hardware: "Hardware", length: float
) -> float:
    """Estimated tokens per second, from the cores or from the GPUs that share each step."""
    if hardware.gpus:
        rate = GPU_FLOPS * min(hyperparameters.devices, len(hardware.gpus))
    else:
        fast = hardware.bf16 and hyperparameters.precision in ("auto", "bf16")
        rate = hardware.cores * (CORE_BF16_FLOPS if fast else CORE_FP32_FLOPS)
    return rate / flops_per_token(shape, hyperparameters, length)


def estimate_source(hardware: "Hardware") -> str:
    """The source of an estimated throughput, as the end of a sentence."""
    if hardware.gpus:
        return f"from model size and {hardware.gpus[0].name}; within a factor of three"
    cores = "1 core" if hardware.cores == 1 else f"{hardware.cores} cores"
    return f"from model size and {cores}; within a factor of two"


def request_seconds(shape: ModelShape, hardware: "Hardware", *, prompt: int, answer: int) -> float:
    """Estimated seconds of one request: the prompt is compute-bound, generation is bound by reading the weights. An
    encoder only reads, in windows.
    """
    gpu = bool(hardware.gpus)
    rate = GPU_FLOPS if gpu else hardware.cores * (CORE_BF16_FLOPS if hardware.bf16 else CORE_FP32_FLOPS)
    width = 2 if gpu or hardware.bf16 else 4
    attended = 2 * min(prompt, ENCODER_WINDOW) if shape.encoder else prompt
    attention = 2 * attended * shape.attention_width * shape.layers
    reading = prompt * (2 * shape.body + attention) / rate
    if shape.encoder:
        return reading + SECONDS_PER_TOKEN
    weights = width * (shape.body + shape.vocabulary * shape.hidden)
    return reading + answer * (weights / (GPU_BYTES_PER_SECOND if gpu else CPU_BYTES_PER_SECOND) + SECONDS_PER_TOKEN)
