"""The use of tokens and their budgets, for the page and for programs."""

from dataclasses import dataclass
from datetime import date, timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from labeling.integrations.tokens import active_tokens
from labeling.models import ApiToken, Project
from serving.budgets.limits import Limits, limits_of
from serving.models import Budget, TokenUsage
from serving.models.usage import Totals
from slmstudio.access import Action

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
    limits: Limits
    is_project: bool = False

    @property
    def shares(self) -> list[Share]:
        """The monthly limits."""
        found = []
        if self.limits.requests_per_month is not None:
            found.append(Share("requests", self.totals.answered, self.limits.requests_per_month))
        if self.limits.tokens_per_month is not None:
            found.append(Share("tokens", self.totals.tokens, self.limits.tokens_per_month))
        return found


@dataclass(frozen=True)
class Day:
    """Requests of one day, and the height of its bar, 0 to ``BAR``."""

    day: date
    requests: int
    height: float

    @property
    def top(self) -> float:
        """Where the bar begins."""
        return BAR - self.height


def resets_on(today: date) -> date:
    """The first day of the next month, in UTC."""
    return (today.replace(day=28) + timedelta(days=4)).replace(day=1)


def use_of_project(project: Project, user: User) -> list[Use]:
    """The project, then its tokens by their use: all of them for owners, else those of the user."""
    today = timezone.now().date()
    rows = TokenUsage.objects.of_month(today).filter(project_id=project.pk)
    budgets = {budget.token_id: limits_of(budget) for budget in Budget.objects.filter(project=project)}
    whole = Use("Project", None, rows.totals(), limits=budgets.get(None, Limits()), is_project=True)
    is_owner = Action.ADMINISTER in getattr(project, "can", ())
    tokens = active_tokens(project, None if is_owner else user)
    found = [
        Use(token.name, token, rows.filter(token_id=token.pk).totals(), limits=budgets.get(token.pk, Limits()))
        for token in tokens
    ]
    studio = Use("Web interface and commands", None, rows.filter(token_id=0).totals(), limits=Limits())
    found.sort(key=lambda use: use.totals.requests, reverse=True)
    return [whole, *found, *([studio] if studio.totals.requests else [])]


def use_of(project: Project, token: ApiToken | None) -> Use:
    """What a token, or the project, has used this month."""
    rows = TokenUsage.objects.of_month(timezone.now().date()).filter(project_id=project.pk)
    if token is not None:
        rows = rows.filter(token_id=token.pk)
    limits = limits_of(Budget.objects.filter(project=project, token=token).first())
    name = token.name if token is not None else "Project"
    return Use(name, token, rows.totals(), limits=limits, is_project=token is None)


def days(project: Project, token: ApiToken | None) -> list[Day]:
    """Requests of the last days, the oldest first; of a token, or of all."""
    today = timezone.now().date()
    first = today - timedelta(days=DAYS - 1)
    rows = TokenUsage.objects.filter(project_id=project.pk, day__gte=first)
    if token is not None:
        rows = rows.filter(token_id=token.pk)
    by_day: dict[date, int] = {}
    for day, number in rows.values_list("day", "requests"):
        by_day[day] = by_day.get(day, 0) + number
    highest = max(by_day.values(), default=0)
    all_days = [first + timedelta(days=number) for number in range(DAYS)]
    return [Day(day, by_day.get(day, 0), BAR * by_day.get(day, 0) / highest if highest else 0.0) for day in all_days]
