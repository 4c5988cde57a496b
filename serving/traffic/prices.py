"""What requests cost: tokens at the price of an endpoint, or time of the model at that of the hardware."""

from dataclasses import dataclass, field

from evaluation.inference.prices import cost_of_time, cost_of_tokens, hourly_price
from labeling.models import Contract, Project
from serving.models import Release, Traffic


@dataclass(frozen=True)
class CostOf:
    """Prices of a project's versions. ``per_token``: release -> prices per million prompt and output tokens."""

    per_hour: float | None
    per_token: dict[int, tuple[float, float] | None] = field(default_factory=dict)

    @classmethod
    def of_project(cls, project: Project, releases: set[int]) -> "CostOf":
        """The prices as they are now."""
        constraints = Contract.objects.filter(project=project).values_list("constraints", flat=True).first() or {}
        per_token: dict[int, tuple[float, float] | None] = {}
        for release in Release.objects.filter(pk__in=releases, endpoint__isnull=False).select_related("endpoint"):
            endpoint = release.endpoint
            assert endpoint is not None
            known = endpoint.price_in is not None and endpoint.price_out is not None
            per_token[release.pk] = (float(endpoint.price_in or 0), float(endpoint.price_out or 0)) if known else None
        return cls(hourly_price(constraints.get("hardware_price_per_hour")).per_hour, per_token)

    def row(self, row: Traffic) -> float | None:
        """The cost of a span with that of the larger model, in the currency of the contract; None: unknown."""
        if row.release_id in self.per_token:
            prices = self.per_token[row.release_id]
            if prices is None:
                return None
            return row.fallback_cost + cost_of_tokens(row.prompt_tokens, row.output_tokens, *prices)
        if not self.per_hour:
            return None
        return row.fallback_cost + cost_of_time(row.model_ms, self.per_hour)
