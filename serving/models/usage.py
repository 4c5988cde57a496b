"""What callers have used, by token and day, and the budgets that limit it."""

from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Self

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q, Sum

from labeling.models import ApiToken, Project


class TokenUsageQuerySet(models.QuerySet["TokenUsage"]):
    """Named reads of use."""

    def of_month(self, day: date) -> Self:
        """Of the month of a day, in UTC."""
        return self.filter(day__gte=day.replace(day=1), day__lte=day)

    def totals(self) -> "Totals":
        """Their sums."""
        names = ("requests", "answered", "prompt_tokens", "output_tokens")
        found = self.aggregate(**{name: Sum(name) for name in names})
        return Totals(*(found[name] or 0 for name in names))


@dataclass(frozen=True)
class Totals:
    """Requests, answered ones, and tokens of prompts and outputs."""

    requests: int
    answered: int
    prompt_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        """Of prompts and outputs."""
        return self.prompt_tokens + self.output_tokens


class TokenUsage(models.Model):
    """The requests of a token on one day in UTC; written with their log, kept longer than it. Tokens are those of the
    model that was asked first and of the larger one.

    No foreign keys, as the log has none. ``token_id`` 0: requests from the page or a command of the studio.
    """

    project_id = models.BigIntegerField()
    token_id = models.BigIntegerField()
    day = models.DateField()
    requests = models.BigIntegerField(default=0)
    answered = models.BigIntegerField(default=0, help_text="with a valid output")
    prompt_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)

    objects: ClassVar[models.Manager["TokenUsage"]] = TokenUsageQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project_id", "token_id", "day"], name="token_usage_once")]

    def __str__(self) -> str:
        return f"use of token {self.token_id} on {self.day}"


class Budget(models.Model):
    """What a token, or a whole project, may use; empty fields are no limit."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="budgets")
    token = models.ForeignKey(
        ApiToken, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets",
        help_text="empty: all requests of the project together",
    )  # fmt: skip
    requests_per_month = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    tokens_per_month = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    tokens_per_minute = models.PositiveBigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "token"], name="budget_once", nulls_distinct=False),
            models.CheckConstraint(
                name="budget_limits_something",
                condition=Q(requests_per_month__isnull=False) | Q(tokens_per_month__isnull=False)
                | Q(tokens_per_minute__isnull=False) | Q(requests_per_minute__isnull=False),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"budget of {self.token or self.project}"
