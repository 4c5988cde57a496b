"""A candidate of a benchmark as it was measured, and the limits of the contract. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from slmstudio.text.formatting import format_money, milliseconds

#: requests that an upper bound of p95 at 95% needs
MIN_REQUESTS_FOR_P95 = 59
BYTES = 1e9


@dataclass(frozen=True)
class Limits:
    """The limits of the contract; None: no limit."""

    memory_gb: float
    latency_p95_ms: float | None = None
    cost_per_request: float | None = None
    currency: str = ""

    @property
    def words(self) -> str:
        """ "16 GB and 800 ms"."""
        parts = [f"{self.memory_gb:g} GB"]
        if self.latency_p95_ms is not None:
            parts.append(milliseconds(self.latency_p95_ms))
        if self.cost_per_request is not None:
            parts.append(f"{format_money(self.cost_per_request, self.currency)} per request")
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@dataclass(frozen=True)
class MeasuredCandidate:
    """A model in one decoding mode, as measured.

    ``mode`` is "" where there is no decoding. ``right`` of ``fields`` fields are correct; ``shares``: document -> field
    accuracy; ``memory_bytes``: peak, None for external models; ``p95_low`` and ``p95_high``: bounds of p95 from
    ``requests``, None for too few; ``machine``: where it was measured; ``cost`` per request, None: unknown; ``size`` in
    parameters; ``base``: it can be fine-tuned here.
    ``labels``: labels that it learned from, None: unknown; ``verdict``: of the gates on outputs, "" where none can be
    tested; ``classical`` and ``fine_tuned``: what it is.
    """

    run: int
    model: str
    name: str
    mode: str
    right: int
    fields: int
    valid: float
    shares: Mapping[str, float] = field(repr=False)
    memory_bytes: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p95_low: float | None = None
    p95_high: float | None = None
    requests: int = 0
    machine: str = ""
    cost: float | None = None
    size: int = 0
    base: bool = True
    labels: int | None = None
    verdict: str = ""
    classical: bool = False
    fine_tuned: bool = False

    @property
    def title(self) -> str:
        """Name and decoding mode."""
        return f"{self.name}, {self.mode}" if self.mode else self.name

    @property
    def accuracy(self) -> float:
        """Field accuracy."""
        return self.right / self.fields if self.fields else 0.0

    def over_limits(self, limits: Limits) -> list[str]:
        """The limits that it exceeds, of p95 only where that is significant; as text."""
        found = []
        if self.memory_bytes is not None and self.memory_bytes > limits.memory_gb * BYTES:
            found.append(f"needs {self.memory_bytes / BYTES:.1f} GB")
        limit = limits.latency_p95_ms
        if limit is not None and (self.p95_ms is None or self._exceeds_limit(limit)):
            found.append(f"p95 {milliseconds(self.p95_ms)}" if self.p95_ms is not None else "p95 not measured")
        if limits.cost_per_request is not None and self.cost is not None and self.cost > limits.cost_per_request:
            found.append(f"{format_money(self.cost, limits.currency)} per request")
        return found

    def _exceeds_limit(self, limit_ms: float) -> bool:
        """Whether p95 exceeds a limit significantly: its lower bound does, or the median where there is none."""
        low = self.p50_ms if self.p95_low is None else self.p95_low
        return low is not None and low > limit_ms

    def over_limit_not_significant(self, limits: Limits) -> str:
        """A note that p95 exceeds the limit, but not significantly; "" if that is not so."""
        limit, p95 = limits.latency_p95_ms, self.p95_ms
        if limit is None or p95 is None or p95 <= limit or self._exceeds_limit(limit):
            return ""
        return (
            f"p95 {milliseconds(p95)} exceeds {milliseconds(limit)}, but not significantly ({self.requests:,} requests)"
        )

    def not_proven(self, limits: Limits) -> str:
        """What is not proven about its p95, as a sentence; "" if it is proven, or the contract has no limit."""
        limit = limits.latency_p95_ms
        if limit is None or self.p95_ms is None or (self.p95_high is not None and self.p95_high <= limit):
            return ""
        where = f" on {self.machine}" if self.machine else ""
        if over := self.over_limit_not_significant(limits):
            return f"{self.title}: {over}, measured with a concurrency of 1{where}."
        few = f"; at least {MIN_REQUESTS_FOR_P95} are needed" if self.requests < MIN_REQUESTS_FOR_P95 else ""
        return (
            f"{self.requests:,} requests do not prove that the p95 of {self.name} stays within {milliseconds(limit)}"
            f"{where}{few}."
        )
