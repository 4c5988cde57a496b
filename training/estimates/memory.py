"""Memory of training and serving a model, by part, and what of it a run can use. Pure.

The measured coefficients are in ``MemoryCosts``; `python -m bench.memory` measures them again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.hyperparameters.definitions import Hyperparameters
from training.model_shape import ModelShape

if TYPE_CHECKING:
    from slmstudio.workers.hardware import Hardware

MIB = 1024**2
#: bytes of the production hardware where a project's contract names none
DEFAULT_MEMORY_LIMIT = 16_000_000_000
#: share of a machine's memory that a run can use; the rest is left to the system
USABLE_SHARE = 0.92
#: Tokens of a micro-batch. The activations of a layer fit in the CPU caches then, and matrix products of this size are
#: as fast as larger ones. Whole batches of four and eight receipts took up to 1.9 times the time in fp32 and 1.5 to 3.7
#: times the memory (docs/benchmarks.md).
MICRO_BATCH_TOKENS = 1024
WIDTH = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "q8_0": 1.0625, "int4": 0.5625}


@dataclass(frozen=True)
class MemoryPart:
    """One part of the memory."""

    title: str
    bytes: int


@dataclass(frozen=True)
class MemoryCosts:
    """Measured coefficients of a device. Activations are stored in the compute type (2 bytes for bf16)."""

    #: bytes of the process without a model: Python, torch, transformers, trl
    process: int
    #: values stored for the backward pass per token and layer, as multiples of the hidden size, the query width and the
    #: MLP width
    hidden: float
    queries: float
    inner: float
    #: as a multiple of the inputs of all linear layers with adapters
    adapter: float
    #: values stored per head and pair of tokens that attend to each other
    pair: float
    #: bytes per logit: logits in two types, their softmax and gradients
    score: float
    #: bytes per parameter while a LoRA adapter is merged at the end by the same process: a copy in fp32 and its output
    merge: float
    #: share of the activations and logits, free by then, that this can use
    reused: float
    #: bytes of the kernels that are compiled for the row lengths, in bf16
    kernels: int
    #: bytes that stay unused in bf16, as a multiple of what a step allocates and frees, and of the logits of the
    #: longest row; see ``_fragmentation``
    fragmentation: float
    logit_fragmentation: float


#: SmolLM2-135M on 2 cores with AVX-512 BF16, blockwise attention. ``kernels``: executable memory of two runs after 20
#: steps (102 and 112 MB). Fragmentation: five runs of 56 to 452 steps, LoRA and full fine-tuning, and 24 steps of Gemma
#: 3 270M, whose vocabulary is five times as large. ``merge`` and ``reused``: LoRA on short rows in bf16, on long ones
#: in fp32. The runs are in tests/training/estimates.
CPU = MemoryCosts(
    process=626_000_000, hidden=4, queries=2, inner=2.8, adapter=0.28, pair=1.5, score=18.3, merge=6, reused=0.3,
    kernels=100_000_000, fragmentation=1.15, logit_fragmentation=4.2,
)  # fmt: skip
#: not measured on a GPU yet; chunked logits and fused attention as in TRL and torch
CUDA = MemoryCosts(
    process=600_000_000, hidden=8, queries=4, inner=5, adapter=0.5, pair=0.0, score=4, merge=0, reused=0,
    kernels=0, fragmentation=0, logit_fragmentation=0,
)  # fmt: skip
#: bytes of the logits of the longest row in the largest run that was measured
MEASURED_LOGITS = 550_000_000
#: Bytes for each pair of start and end of a span head: scores, their mask and softmax, and gradients, in fp32. Measured
#: as the others, with MiniLM on rows of 28 to 474 tokens and four and eight fields; the attention of an encoder stores
#: no pairs.
SPAN_BYTES = 24
#: How much more the blocks of an encoder's step vary in size than those of a decoder. Fifty steps of MiniLM in bf16 on
#: rows of 128 to 470 tokens grew from 1.1 to 2.2 GB, and not in fp32.
ENCODER_VARIETY = 4.8
#: queries of one block of attention by precision, see training.ml.modeling.attention
ATTENTION_BLOCK = {"fp32": 32, "fp16": 32, "bf16": 128}


def costs(device: str) -> MemoryCosts:
    """The coefficients of a device (``cpu`` or ``cuda``)."""
    return CUDA if device == "cuda" else CPU


def training_memory(
    shape: ModelShape,
    *,
    method: str,
    hyperparameters: Hyperparameters,
    longest: int,
    precision: str,
    device: str,
    answer: int = 0,
    spans: int = 0,
) -> tuple[MemoryPart, ...]:
    """Peak memory of one device during a step by part, largest first.

    ``longest``: tokens of the longest row; ``answer``: tokens of the longest completion, a quarter of the row where it
    is not known. ``spans``: span heads of an encoder, which score every stretch of a row. ``precision`` is fp32, bf16
    or fp16; ``device`` is cpu or cuda. ``hyperparameters`` gives the batch size, the rank and gradient checkpointing.
    On a CPU it is the peak resident memory of the process.
    """
    cost, width = costs(device), WIDTH[precision]
    is_split = device == "cpu" and hyperparameters.devices == 1
    tokens = (
        micro_batch_tokens(hyperparameters.batch_size, longest) if is_split else hyperparameters.batch_size * longest
    )
    rows = tokens / longest
    layer = tokens * _per_token(shape, method, cost) * width
    if shape.encoder:
        logits = rows * spans * longest**2 * SPAN_BYTES
    else:
        logits = rows * min(longest, answer or longest // 4) * shape.vocabulary * cost.score
        layer += rows * _attention_scores(shape, longest, ATTENTION_BLOCK[precision]) * cost.pair * width
    if hyperparameters.activation_checkpointing:
        # the input of each layer, and one recomputed layer after the logits are freed
        kept = tokens * shape.hidden * width * shape.layers + max(0.0, layer - logits)
    else:
        kept = layer * shape.layers
    # full fine-tuning has nothing to merge
    merged = 0.0 if method == "full" else max(0.0, cost.merge * shape.parameters - cost.reused * (kept + logits))
    freed = (kept + logits) * (ENCODER_VARIETY if shape.encoder else 1)
    if method == "full":
        freed += shape.parameters * (4 + WIDTH[precision])  # gradients, and the copy of the weights in the compute type
    parts = [
        MemoryPart("process", cost.process + (cost.kernels if precision == "bf16" else 0)),
        *_weights(shape, method, hyperparameters, precision),
        MemoryPart("activations", int(kept)),
        MemoryPart("span scores" if shape.encoder else "logits", int(logits)),
        MemoryPart("fragmentation", _fragmentation(cost, precision, freed, logits / rows)),
        MemoryPart("weight average", _averaged(shape, method, hyperparameters)),
        MemoryPart("merging the adapter", int(merged)),
    ]
    return tuple(sorted((part for part in parts if part.bytes), key=lambda part: -part.bytes))


def _fragmentation(cost: MemoryCosts, precision: str, freed: float, logits: float) -> int:
    """Bytes that the allocator holds and cannot use again, where each step allocates and frees ``freed`` bytes.

    ``logits``: bytes of those of the longest row, in blocks whose sizes vary most; of more than were measured, no more
    is known to stay unused. On a CPU all blocks but the largest
    are in one heap that never shrinks (``slmstudio.runs.child_environment``). In bf16 it grows with every new length of
    a micro-batch, for some fifty steps: what is kept for a length (compiled kernels) lies in gaps into which the blocks
    fit no longer. Eight small layers grew from 0.49 to 1.32 GB in 60 steps on rows of 60 to 256 tokens; in fp32, or on
    rows of one length, not at all.
    """
    if precision != "bf16":
        return 0
    return int(cost.fragmentation * freed + cost.logit_fragmentation * min(logits, MEASURED_LOGITS))


def _per_token(shape: ModelShape, method: str, cost: MemoryCosts) -> float:
    """Values that one layer stores per token."""
    numbers = cost.hidden * shape.hidden + cost.queries * shape.attention_width + cost.inner * shape.intermediate
    if method == "full":
        return numbers
    return numbers + cost.adapter * sum(inputs for inputs, _ in shape.linear_sizes)


def _attention_scores(shape: ModelShape, longest: int, block: int) -> float:
    """Attention probabilities that one layer stores for a row, over all heads, in blocks of so many queries."""
    attended = (longest + block) / 2
    if shape.window:
        attended = min(attended, shape.window + block)
    return shape.heads * longest * attended


def _weights(shape: ModelShape, method: str, hyperparameters: Hyperparameters, precision: str) -> list[MemoryPart]:
    if method == "full":
        # fp32 weights, gradients and the two moments of AdamW; autocast keeps a copy in the compute type
        copy = 0 if precision == "fp32" else WIDTH[precision]
        return [
            MemoryPart("weights", int(shape.parameters * (4 + copy))),
            MemoryPart("gradients", shape.parameters * 4),
            MemoryPart("optimizer state", shape.parameters * 8),
        ]
    frozen = WIDTH["int4"] if method == "qlora" else WIDTH[precision]
    adapter = shape.adapter_parameters(hyperparameters.lora_r)
    body = shape.body * frozen + shape.embedding * (2 if method == "qlora" else frozen)
    return [MemoryPart("weights", int(body)), MemoryPart("adapter and optimizer state", adapter * 16)]


def trained_parameters(shape: ModelShape, method: str, hyperparameters: Hyperparameters) -> int:
    """Parameters that the optimizer changes."""
    return shape.parameters if method == "full" else shape.adapter_parameters(hyperparameters.lora_r)


def _averaged(shape: ModelShape, method: str, hyperparameters: Hyperparameters) -> int:
    """Bytes of the averaged weights, in fp32."""
    return 0 if hyperparameters.weight_averaging == "none" else 4 * trained_parameters(shape, method, hyperparameters)


def inference_memory(shape: ModelShape, *, precision: str, tokens: int) -> int:
    """Bytes to serve one request of ``tokens`` (prompt and output): weights, KV cache of a decoder, process."""
    weights = shape.parameters * WIDTH[precision]
    cached = 0 if shape.encoder else 2 * shape.layers * shape.kv_width * tokens * 2
    return int(weights + cached + 300 * MIB)


def micro_batch_tokens(rows: int, longest: int) -> int:
    """The maximum tokens of a micro-batch of ``rows`` rows, the longest of which has ``longest`` tokens."""
    return min(rows * longest, max(longest, MICRO_BATCH_TOKENS))


def micro_batch_rows(longest: int) -> int:
    """Rows of at most ``longest`` tokens in a micro-batch; at least one."""
    return max(1, MICRO_BATCH_TOKENS // max(1, longest))


def usable_memory(hardware: "Hardware | None") -> tuple[int | None, str]:
    """Bytes that a run can use on each of its devices, and the name of that memory; None without hardware."""
    if hardware is None:
        return None, ""
    if hardware.gpus:
        gpu = min(hardware.gpus, key=lambda device: device.memory_bytes)
        return int(gpu.memory_bytes * USABLE_SHARE), f"{gpu.name} of {hardware.host}"
    return int(hardware.memory_bytes * USABLE_SHARE), f"memory of {hardware.host}"
