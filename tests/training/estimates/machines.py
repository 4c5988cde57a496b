"""Machines of a worker, and the shape of a model whose memory is known."""

from typing import Any

from slmstudio.workers.hardware import Gpu, Hardware

SMOLLM: dict[str, Any] = {
    "layers": 30,
    "hidden": 576,
    "intermediate": 1536,
    "heads": 9,
    "kv_heads": 3,
    "head_dim": 64,
    "vocabulary": 49152,
    "tied": True,
    "parameters": 134_515_008,
    "context": 8192,
    "window": None,
}


def machine(gigabytes: float, gpus: int = 0) -> Hardware:
    cards = tuple(Gpu(n, f"gpu-{n}", "H100", 80 * 2**30) for n in range(gpus))
    size = int(gigabytes * 2**30)
    return Hardware("box", "a processor", 8, size, size, cards, bf16=False)
