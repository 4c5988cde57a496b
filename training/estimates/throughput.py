"""How fast a fine-tuning goes: the work of a token, and the rate of hardware that nobody has measured yet. Pure."""

from typing import TYPE_CHECKING

from training.base_models.architecture import Shape
from training.runs.presets import Knobs

if TYPE_CHECKING:
    from slmstudio.workers.hardware import Hardware

#: seconds until a run has read its data and loaded its model
STARTING = 20.0
#: share of a row's tokens that is scored, where nobody has counted
_SCORED = 0.2
#: bytes per second that weights are read with while an answer is written token by token
_CPU_READS, _GPU_READS = 12e9, 1e12
#: seconds that a token takes besides: Python, launching kernels, choosing the token
_PER_TOKEN = 0.008
#: floating point operations per second and core, and of a GPU. Training SmolLM2 was seen to reach 102e9 a core in bf16,
#: and 82e9 in fp32 with AVX-512; cores without it multiply half as fast. The GPU was not measured.
_CORE_BF16, _CORE_FP32, _GPU = 90e9, 50e9, 60e12


def work(shape: Shape, knobs: Knobs, length: float) -> float:
    """Floating point operations behind one token of a row of ``length`` tokens, forward and backward.

    Two for each weight forward, two more for the gradient of what comes in, two more for that of a weight that is
    trained; two more where activations are computed again. Attention looks back over half the row on average. QLoRA
    unpacks its weights each time, which costs about a third.
    """
    window = min(length / 2, shape.window or length / 2)
    attention = 4 * window * shape.attention_width * shape.layers
    head = shape.vocabulary * shape.hidden * _SCORED
    again = 1 if knobs.activation_checkpointing else 0
    if knobs.method == "full":
        return (6 + 2 * again) * shape.body + 6 * head + (3 + again) * attention
    adapter = shape.adapter_parameters(knobs.lora_r)
    total = (4 + 2 * again) * shape.body + 4 * head + (6 + 2 * again) * adapter + (3 + again) * attention
    return total * (1.3 if knobs.method == "qlora" else 1)


def scaled_speed(speed: float, shape: Shape, then: Knobs, now: Knobs, length: float) -> float:
    """Tokens per second with the knobs of ``now``, where ``speed`` was reached with those of ``then``."""
    return speed * work(shape, then, length) / work(shape, now, length) * now.devices / then.devices


def rough_speed(shape: Shape, knobs: Knobs, hardware: "Hardware", length: float) -> float:
    """Tokens per second that nobody has measured: from the cores, or from the GPUs that share each step."""
    if hardware.gpus:
        rate = _GPU * min(knobs.devices, len(hardware.gpus))
    else:
        fast = hardware.bf16 and knobs.precision in ("auto", "bf16")
        rate = hardware.cores * (_CORE_BF16 if fast else _CORE_FP32)
    return rate / work(shape, knobs, length)


def rough_words(hardware: "Hardware") -> str:
    """Where a rough speed comes from, as the end of a sentence."""
    if hardware.gpus:
        return f"from the size of the model and {hardware.gpus[0].name}; a third or three times of it is possible"
    cores = "1 core" if hardware.cores == 1 else f"{hardware.cores} cores"
    return f"from the size of the model and {cores}; half or twice of it is possible"


def request_seconds(shape: Shape, hardware: "Hardware", *, prompt: int, answer: int) -> float:
    """Seconds of one request, nothing measured: reading the prompt is arithmetic, writing is reading the weights."""
    gpu = bool(hardware.gpus)
    rate = _GPU if gpu else hardware.cores * (_CORE_BF16 if hardware.bf16 else _CORE_FP32)
    width = 2 if gpu or hardware.bf16 else 4
    attention = 2 * prompt * shape.attention_width * shape.layers
    reading = prompt * (2 * shape.body + attention) / rate
    weights = width * (shape.body + shape.vocabulary * shape.hidden)
    return reading + answer * (weights / (_GPU_READS if gpu else _CPU_READS) + _PER_TOKEN)
