"""Limits of use as gateways count them."""

from dataclasses import dataclass

from django.utils import timezone

from serving.models import Budget, TokenUsage


@dataclass(frozen=True, slots=True)
class Limits:
    """What a token or a project may use; None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_month: int | None = None
    tokens_per_month: int | None = None

    @property
    def has_month(self) -> bool:
        """Whether the use of a month is limited."""
        return self.requests_per_month is not None or self.tokens_per_month is not None


NO_LIMITS = Limits()


def limits_of(budget: Budget | None) -> Limits:
    """The limits of a budget."""
    if budget is None:
        return NO_LIMITS
    return Limits(
        budget.requests_per_minute, budget.tokens_per_minute, budget.requests_per_month, budget.tokens_per_month
    )


def limits_of_token(token_id: int) -> Limits:
    """The limits of a token."""
    return limits_of(Budget.objects.filter(token_id=token_id).first())


def limits_of_projects() -> dict[int, Limits]:
    """Project -> its limits; projects without a budget are left out."""
    return {budget.project_id: limits_of(budget) for budget in Budget.objects.filter(token=None)}


def used_this_month(**of: int) -> tuple[int, int]:
    """Answered requests and tokens of the current month in UTC; ``of``: ``project_id`` or ``token_id``."""
    totals = TokenUsage.objects.of_month(timezone.now().date()).filter(**of).totals()
    return totals.answered, totals.tokens
