"""Callers: what they have used, by token and day, the budgets that limit it, and their keys of the external model."""

from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, Self

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q, Sum
from django.utils import timezone

from labeling.models import ApiToken, Project


class TokenUsageQuerySet(models.QuerySet["TokenUsage"]):
    """Named reads of use."""

    def of_month(self, day: date) -> Self:
        """Of the month of a day, in UTC."""
        return self.filter(day__gte=day.replace(day=1), day__lte=day)

    def totals(self) -> "Totals":
        """Their sums."""
        names = ("requests", "answered", "prompt_tokens", "output_tokens")
        sums = self.aggregate(**{name: Sum(name, default=0) for name in names})
        return Totals(**sums)


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

    @property
    def has_month(self) -> bool:
        """Whether the use of a month is limited."""
        return self.requests_per_month is not None or self.tokens_per_month is not None


class CaptureKeyQuerySet(models.QuerySet["CaptureKey"]):
    """Named reads of registered keys."""

    def in_use(self) -> Self:
        """Those that were not removed."""
        return self.filter(removed_at=None)


class CaptureKey(models.Model):
    """A registered key, as its hash. Rows of removed keys stay: requests were logged with them."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="capture_keys")
    sha256 = models.CharField(max_length=64)
    prefix = models.CharField(max_length=20, help_text="what is shown of it")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = CaptureKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "sha256"], name="capture_key_once", condition=models.Q(removed_at=None)
            )
        ]

    def __str__(self) -> str:
        return f"key {self.prefix}"
