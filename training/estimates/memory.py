"""How much memory training and running a model takes, part by part, from its shape and the knobs. Pure.

Every coefficient that was measured stands in ``Costs``: `python -m bench.memory` measures them again.
"""

from dataclasses import dataclass

from training.base_models.architecture import Shape
from training.estimates.micro_batch import tokens_of_piece
from training.runs.presets import Knobs

MIB = 1024**2
GIB = 1024**3
WIDTH = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "q8_0": 1.0625, "int4": 0.5625}


@dataclass(frozen=True)
class Part:
    """One thing that takes memory, in words that fit ``the ...``."""

    title: str
    bytes: int


@dataclass(frozen=True)
class Costs:
    """What was measured on a device; numbers are kept in the type that is multiplied in (2 bytes for bf16)."""

    #: bytes of the process before a model is in it: Python, torch, transformers, trl
    process: int
    #: numbers kept for the backward pass per token and layer: so many times the hidden size, the width of the queries,
    #: and the inner width of the MLP
    hidden: float
    queries: float
    inner: float
    #: as many times the inputs of all matrices, where adapters sit on them
    adapter: float
    #: numbers kept per head and pair of tokens that see each other
    pair: float
    #: bytes per scored position and word of the vocabulary: the scores in two types, their softmax and gradients
    score: float
    #: bytes per parameter while a LoRA adapter is merged at the end, by the same process, in fp32
    merge: float


#: SmolLM2-135M on 2 cores with AVX-512 BF16, attention in blocks
CPU = Costs(process=626_000_000, hidden=4, queries=2, inner=2.8, adapter=0.28, pair=1.5, score=18.3, merge=3.5)
#: not measured on a GPU yet: scores in chunks and attention without pairs as TRL and torch have them there
CUDA = Costs(process=600_000_000, hidden=8, queries=4, inner=5, adapter=0.5, pair=0.0, score=4, merge=0)
#: queries of one block of attention, see training.ml.modeling.attention
_BLOCK = 32


def costs(device: str) -> Costs:
    """The figures of a device (``cpu`` or ``cuda``)."""
    return CUDA if device == "cuda" else CPU


def training_memory(
    shape: Shape,
    *,
    method: str,
    knobs: Knobs,
    longest: int,
    precision: str,
    device: str,
    answer: int = 0,
) -> tuple[Part, ...]:
    """What one device holds at the most expensive moment of a step, largest part first.

    ``longest``: tokens of the longest row; ``answer``: tokens of the longest completion, a quarter of the row where it
    is not known. ``precision`` is fp32, bf16 or fp16; ``device`` is cpu or cuda. ``knobs`` gives the rows at once, the
    rank and whether activations are computed again. On a CPU it is the resident memory of the process, up to its end.
    """
    cost, width = costs(device), WIDTH[precision]
    in_pieces = device == "cpu" and knobs.devices == 1
    tokens = tokens_of_piece(knobs.batch_size, longest) if in_pieces else knobs.batch_size * longest
    rows = tokens / longest
    scored = rows * min(longest, answer or longest // 4)
    scores = scored * shape.vocabulary * cost.score
    layer = tokens * _per_token(shape, method, cost) * width + rows * _pairs(shape, longest) * cost.pair * width
    if knobs.activation_checkpointing:
        # what enters each layer; and, after the scores are gone again, one layer in full
        kept = tokens * shape.hidden * width * shape.layers + max(0.0, layer - scores)
    else:
        kept = layer * shape.layers
    merged = 0.0 if method == "full" else cost.merge * shape.parameters  # a full fine-tuning has nothing to merge
    parts = [
        Part("the process itself", cost.process),
        *_weights(shape, method, knobs, precision),
        Part("the activations", int(kept)),
        Part("the scores over the vocabulary", int(scores)),
        Part("merging at the end", int(merged)),
    ]
    return tuple(sorted((part for part in parts if part.bytes), key=lambda part: -part.bytes))


def _per_token(shape: Shape, method: str, cost: Costs) -> float:
    """Numbers that one layer keeps of a token."""
    numbers = cost.hidden * shape.hidden + cost.queries * shape.attention_width + cost.inner * shape.intermediate
    if method == "full":
        return numbers
    return numbers + cost.adapter * sum(inputs for inputs, _ in shape.linear_sizes)


def _pairs(shape: Shape, longest: int) -> float:
    """Pairs of tokens, counted for each head, whose attention one layer keeps of a row."""
    seen = (longest + _BLOCK) / 2
    if shape.window:
        seen = min(seen, shape.window + _BLOCK)
    return shape.heads * longest * seen


def _weights(shape: Shape, method: str, knobs: Knobs, precision: str) -> list[Part]:
    if method == "full":
        # fp32 weights, gradients and the two moments of AdamW; autocast keeps a copy in the type it multiplies in
        copy = 0 if precision == "fp32" else WIDTH[precision]
        return [
            Part("the weights", int(shape.parameters * (4 + copy))),
            Part("the gradients", shape.parameters * 4),
            Part("the optimizer", shape.parameters * 8),
        ]
    held = WIDTH["int4"] if method == "qlora" else WIDTH[precision]
    adapter = shape.adapter_parameters(knobs.lora_r)
    body = shape.body * held + shape.embedding * (2 if method == "qlora" else held)
    return [Part("the weights", int(body)), Part("the adapter with its optimizer", adapter * 16)]


def inference_memory(shape: Shape, *, precision: str, tokens: int) -> int:
    """Bytes to serve one request of ``tokens`` (prompt and answer): weights, keys and values, the process."""
    weights = shape.parameters * WIDTH[precision]
    cached = 2 * shape.layers * shape.kv_width * tokens * 2
    return int(weights + cached + 300 * MIB)
