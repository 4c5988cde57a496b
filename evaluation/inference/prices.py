"""What a request costs: tokens at an endpoint's price, or time at the price of hardware. Pure.

All amounts are in the currency of the contract.
"""

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Cost:
    """The cost of a thousand documents, or None; ``reason``: how it was calculated, or why it is unknown."""

    per_thousand: float | None
    reason: str

    @property
    def per_document(self) -> float | None:
        """The cost of one document."""
        return None if self.per_thousand is None else self.per_thousand / 1000


class RequestUsage(Protocol):
    """What the price of one request depends on."""

    latency_ms: float
    prompt_tokens: int
    output_tokens: int


class Price(Protocol):
    """A price list: what documents cost with a backend."""

    @property
    def unknown_reason(self) -> str:
        """Why nothing has a price; "" if it has one."""

    def of_run(self, facts: dict[str, Any], documents: int) -> Cost:
        """The mean cost of ``documents`` of a run with these facts."""

    def of_request(self, usage: RequestUsage, pace: float = 1.0) -> float:
        """The cost of one request. ``pace``: the share of its latency in which the hardware served it alone."""


@dataclass(frozen=True)
class TokenPrice:
    """Prices per million prompt and output tokens; None: unknown."""

    prompt: float | None
    output: float | None

    @property
    def unknown_reason(self) -> str:
        """As in Price."""
        return "the endpoint has no price per token" if None in (self.prompt, self.output) else ""

    def of_run(self, facts: dict[str, Any], documents: int) -> Cost:
        """Tokens at the endpoint's price."""
        if self.unknown_reason:
            return Cost(None, self.unknown_reason)
        if not documents:
            return Cost(None, "no document was answered")
        total = self._tokens(facts["prompt_tokens"], facts["output_tokens"])
        estimated = ", tokens estimated" if facts.get("tokens_estimated") else ""
        return Cost(1000 * total / documents, f"tokens at the endpoint's price{estimated}")

    def of_request(self, usage: RequestUsage, pace: float = 1.0) -> float:
        """As in Price."""
        return self._tokens(usage.prompt_tokens, usage.output_tokens)

    def _tokens(self, prompt_tokens: int, output_tokens: int) -> float:
        return cost_of_tokens(prompt_tokens, output_tokens, float(self.prompt or 0), float(self.output or 0))


@dataclass(frozen=True)
class HardwarePrice:
    """The price per hour of the machine that runs the model; None: unknown."""

    per_hour: float | None

    @property
    def unknown_reason(self) -> str:
        """As in Price."""
        return "" if self.per_hour else "the contract has no price per hour of the hardware"

    def of_run(self, facts: dict[str, Any], documents: int) -> Cost:
        """The time of a document, from throughput, at the price per hour."""
        if self.per_hour is None:
            return Cost(None, self.unknown_reason)
        if not facts.get("docs_per_second"):
            return Cost(None, "no throughput was measured")
        return Cost(
            1000 * cost_of_time(1000 / facts["docs_per_second"], self.per_hour), "measured time at the price per hour"
        )

    def of_request(self, usage: RequestUsage, pace: float = 1.0) -> float:
        """As in Price."""
        return cost_of_time(pace * usage.latency_ms, float(self.per_hour or 0))


def hourly_price(value: Any) -> HardwarePrice:
    """The price per hour as a contract or a form holds it; "" and None are unknown."""
    return HardwarePrice(None if value in (None, "") else float(value))


def cost_of_time(latency_ms: float, price_per_hour: float) -> float:
    """The cost of a request that occupies the hardware for this long."""
    return latency_ms / 3_600_000 * price_per_hour


def cost_of_tokens(
    prompt_tokens: int, output_tokens: int, price_per_million_in: float, price_per_million_out: float
) -> float:
    """The cost of a request at an endpoint that charges by the token."""
    return (prompt_tokens * price_per_million_in + output_tokens * price_per_million_out) / 1_000_000


def required_concurrency(constraints: dict[str, Any], maximum: int) -> int | None:
    """Requests in flight at the contract's request rate and p95 latency (Little's law), at most ``maximum``; None
    where the contract sets neither.
    """
    rate, latency_ms = constraints.get("requests_per_second"), constraints.get("latency_p95_ms")
    if rate in (None, "") or latency_ms in (None, ""):
        return None
    return max(1, min(maximum, -int(-float(rate) * float(latency_ms) // 1000)))
