"""What one document costs: time at the price of the hardware, or tokens at the price of the endpoint. Pure."""

from dataclasses import dataclass
from typing import Any

from evaluation.comparison.paired import cost_of_time, cost_of_tokens


@dataclass(frozen=True)
class Cost:
    """What a thousand documents cost, or why that is not known; in the currency of the contract."""

    thousand: float | None
    why: str

    @property
    def request(self) -> float | None:
        """What one costs."""
        return None if self.thousand is None else self.thousand / 1000


def elsewhere(facts: dict[str, Any], documents: int) -> Cost:
    """Of a model behind an endpoint, by the ``facts`` of an evaluation: its tokens and what a million of them cost."""
    if facts.get("price_in") is None or facts.get("price_out") is None:
        return Cost(None, "the endpoint has no price per token")
    if not documents:
        return Cost(None, "nothing was answered")
    tokens = facts["prompt_tokens"], facts["output_tokens"]
    total = cost_of_tokens(*tokens, facts["price_in"], facts["price_out"])
    guessed = ", tokens estimated" if facts.get("tokens_estimated") else ""
    return Cost(1000 * total / documents, f"tokens at the endpoint's price{guessed}")


def here(facts: dict[str, Any], price_per_hour: Any) -> Cost:
    """Of a model on hardware of one's own: the time that a document takes of it at its price per hour."""
    if price_per_hour in (None, ""):
        return Cost(None, "the contract has no price per hour of the hardware")
    if not facts.get("docs_per_second"):
        return Cost(None, "no throughput was measured")
    hourly = float(price_per_hour)
    return Cost(1000 * cost_of_time(1000 / facts["docs_per_second"], hourly), "measured time at the price per hour")


def needed_at_once(constraints: dict[str, Any], most: int) -> int | None:
    """Documents that are under way together where the contract's requests come in at its rate and each takes as long as
    it may (Little's law); None where the contract does not say.
    """
    rate, seconds = constraints.get("requests_per_second"), constraints.get("latency_p95_ms")
    if rate in (None, "") or seconds in (None, ""):
        return None
    return max(1, min(most, -int(-float(rate) * float(seconds) // 1000)))
