"""How an estimate compares with what a run measured. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slmstudio.text.formatting import duration, format_bytes, percent
from training.estimates.estimate import Estimate
from training.estimates.memory import CUDA
from training.estimates.throughput import STARTUP_SECONDS


@dataclass(frozen=True)
class EstimateAccuracy:
    """What a run measured (bytes, seconds), and how far that is from the estimate: 0.1 is 10% more than estimated.

    None where the estimate or the measurement is missing.
    """

    memory_bytes: int | None = None
    memory_error: float | None = None
    seconds: float | None = None
    seconds_error: float | None = None

    @property
    def lines(self) -> list[str]:
        """A line for memory and one for time, where both sides are known: "memory: estimated 9.1 GB, used 8.4 GB"."""
        return [
            *_line("memory", self.memory_bytes, self.memory_error, format_bytes),
            *_line("time", self.seconds, self.seconds_error, duration),
        ]


def estimate_accuracy(estimate: Estimate | None, facts: dict[str, Any]) -> EstimateAccuracy:
    """Compares an estimate with a run's facts (``peak_memory_bytes``, ``seconds`` of all attempts).

    The trainer's clock starts when data and model are loaded, so the startup time is taken off the estimate.
    """
    memory = facts.get("peak_memory_bytes") or None
    seconds = facts.get("seconds") or None
    if estimate is None:
        return EstimateAccuracy(memory_bytes=memory, seconds=seconds)
    estimated_memory = estimate.memory_bytes - (CUDA.process if facts.get("device") == "cuda" else 0)
    estimated_seconds = (estimate.seconds or 0.0) - STARTUP_SECONDS
    return EstimateAccuracy(
        memory_bytes=memory,
        memory_error=memory / estimated_memory - 1 if memory and estimated_memory else None,
        seconds=seconds,
        seconds_error=seconds / estimated_seconds - 1 if seconds and estimated_seconds > 0 else None,
    )


def _line(name: str, measured: float | None, error: float | None, text: Callable[[Any], str]) -> list[str]:
    if not measured or error is None or error <= -1:
        return []
    share = round(1 / (1 + error) - 1, 2)
    off = f"{percent(abs(share), 0)} too {'high' if share > 0 else 'low'}" if share else "as estimated"
    return [f"{name}: estimated {text(measured / (1 + error))}, measured {text(measured)}, {off}"]
