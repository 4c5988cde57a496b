"""The use of tokens and their limits, for pages and gateways."""

from dataclasses import dataclass
from datetime import date, timedelta

from django.contrib.auth.models import User
from django.db.models import Sum
from django.utils import timezone

from labeling.integrations.tokens import active_tokens
from labeling.models import ApiToken, Project
from serving.models import Budget, TokenUsage
from serving.models.callers import Totals
from slmstudio.access import Role

NO_LIMITS = Budget()
#: days of the chart
DAYS = 30
#: height of the chart
BAR = 60.0


@dataclass(frozen=True)
class Share:
    """How much of a limit is used."""

    unit: str
    used: int
    limit: int

    @property
    def percent(self) -> int:
        """Whole percent, at most 100."""
        return min(100, 100 * self.used // self.limit)

    @property
    def is_spent(self) -> bool:
        """Whether requests are rejected."""
        return self.used >= self.limit


@dataclass(frozen=True)
class Use:
    """What a token, or the project, has used this month. ``token`` None: the project, or requests of the studio."""

    name: str
    token: ApiToken | None
    totals: Totals
    limits: Budget = NO_LIMITS
    is_project: bool = False

    @property
    def shares(self) -> list[Share]:
        """The monthly limits."""
        months = (
            ("requests", self.totals.answered, self.limits.requests_per_month),
            ("tokens", self.totals.tokens, self.limits.tokens_per_month),
        )
        return [Share(unit, used, limit) for unit, used, limit in months if limit is not None]


@dataclass(frozen=True)
class Day:
    """Requests of one day, and the height of its bar, 0 to ``BAR``, with where it begins."""

    day: date
    requests: int
    height: float
    top: float


def limits_of_token(token_id: int) -> Budget:
    """The limits of a token."""
    return Budget.objects.filter(token_id=token_id).first() or NO_LIMITS


def used_this_month(**of: int) -> tuple[int, int]:
    """Answered requests and tokens of the current month in UTC; ``of``: ``project_id`` or ``token_id``."""
    totals = TokenUsage.objects.of_month(timezone.now().date()).filter(**of).totals()
    return totals.answered, totals.tokens


def resets_on(today: date) -> date:
    """The first day of the next month, in UTC."""
    return (today.replace(day=28) + timedelta(days=4)).replace(day=1)


def use_of(project: Project, token: ApiToken | None) -> Use:
    """What a token, or the project, has used this month."""
    rows = TokenUsage.objects.of_month(timezone.now().date()).filter(project_id=project.pk)
    limits = Budget.objects.filter(project=project, token=token).first() or NO_LIMITS
    if token is None:
        return Use("Project", None, rows.totals(), limits, is_project=True)
    return Use(token.name, token, rows.filter(token_id=token.pk).totals(), limits)


def sees_all_tokens(project: Project) -> bool:
    """Whether the signed-in user sees the tokens of all members, not only their own."""
    return getattr(project, "role", "") in (Role.MANAGER, Role.OWNER)


def use_of_project(project: Project, user: User) -> list[Use]:
    """The project, then its tokens by their use: all of them for managers and owners, revoked ones included if they
    were used; else those of the user, and the others as one sum."""
    rows = TokenUsage.objects.of_month(timezone.now().date()).filter(project_id=project.pk)
    mine = {} if sees_all_tokens(project) else {"user": user}
    used = ApiToken.objects.filter(project=project, pk__in=rows.values("token_id"), **mine).select_related("user")
    shown = {token.pk: token for token in [*active_tokens(project, mine.get("user")), *used]}
    tokens = [use_of(project, token) for token in shown.values()]
    tokens.sort(key=lambda use: use.totals.requests, reverse=True)
    others = Use("Other tokens", None, rows.exclude(token_id__in=[0, *shown]).totals())
    studio = Use("Web interface, batches and commands", None, rows.filter(token_id=0).totals())
    return [use_of(project, None), *tokens, *(use for use in (others, studio) if use.totals.requests)]


def days(project: Project, token: ApiToken | None) -> list[Day]:
    """Requests of the last days, the oldest first; of a token, or of all."""
    first = timezone.now().date() - timedelta(days=DAYS - 1)
    rows = TokenUsage.objects.filter(project_id=project.pk, day__gte=first)
    if token is not None:
        rows = rows.filter(token_id=token.pk)
    requests = dict(rows.values_list("day").annotate(Sum("requests")))
    scale = BAR / max(requests.values(), default=1)
    bars = [(first + timedelta(days=at), requests.get(first + timedelta(days=at), 0)) for at in range(DAYS)]
    return [Day(day, number, number * scale, BAR - number * scale) for day, number in bars]
