"""Live accuracy of the versions of a project, from the judged requests of the uniform sample."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from labeling.models import Project
from serving.feedback.accuracy import Estimate, Forecast, Sampled, Traffic, estimate, field_accuracy, forecast
from serving.feedback.sampling import judged_per_day
from serving.models import Judgment, SampleDay
from serving.models.review import Draw, Reason, ReviewItem

#: days of traffic that the estimate is about
DAYS = 28


@dataclass
class LiveAccuracy:
    """What is known about one release. ``pending``: drawn requests that were sent to labeling and have no label yet."""

    release_id: int
    sample: list[Sampled] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    pending: int = 0
    exact: Estimate | None = None
    fields: Estimate | None = None

    @property
    def drawn(self) -> int:
        """Requests in the uniform sample."""
        return len(self.sample)

    @property
    def judged(self) -> int:
        """Of these, with a judgment."""
        return sum(one.right is not None for one in self.sample)


def live_accuracies(project: Project, since: date | None = None) -> dict[int, LiveAccuracy]:
    """Release -> its live accuracy since a day; four queries."""
    found: defaultdict[int, LiveAccuracy] = defaultdict(lambda: LiveAccuracy(0))
    draws = Draw.objects.filter(project=project, uniform_probability__isnull=False)
    days = SampleDay.objects.filter(project=project)
    if since is not None:
        draws, days = draws.filter(day__gte=since), days.filter(day__gte=since)
    judged = _judgments(project, draws)
    for request, release, probability, predictor, probabilities in draws.values_list(
        "request_id", "release_id", "uniform_probability", "predictor", "probabilities"
    ):
        right, correct, counted = judged.get(request, (None, 0, 0))
        found[release].sample.append(
            Sampled(float(probability or 0), right, predictor, set(probabilities) != {Reason.UNIFORM}, correct, counted)
        )
    for release, traffic in _traffic(days).items():
        found[release].traffic = traffic
    for release, pending in _pending(draws, judged).items():
        found[release].pending = pending
    for release, one in found.items():
        one.release_id = release
        one.exact, one.fields = estimate(one.sample, one.traffic), field_accuracy(one.sample)
    return dict(found)


def _judgments(project: Project, draws: Any) -> dict[Any, tuple[bool, int, int]]:
    """Request -> right, correct and counted fields; a gold label counts before a reviewer."""
    rows = Judgment.objects.of(project).by_people_of_the_project().filter(request_id__in=draws.values("request_id"))
    found: dict[Any, tuple[bool, int, int]] = {}
    # "gold" is before "reviewer".
    for request, right, correct, counted in rows.order_by("-source").values_list(
        "request_id", "right", "correct_fields", "counted_fields"
    ):
        found[request] = right, correct, counted
    return found


def _traffic(days: Any) -> dict[int, Traffic]:
    columns = ("answered", "predicted", "predictor_sum", "predictor_squares")
    sums: defaultdict[int, list[float]] = defaultdict(lambda: [0.0] * len(columns))
    for release, *values in days.values_list("release_id", *columns):
        sums[release] = [total + value for total, value in zip(sums[release], values, strict=True)]
    return {release: Traffic(int(a), int(p), s, q) for release, (a, p, s, q) in sums.items()}


def _pending(draws: Any, judged: dict[Any, Any]) -> dict[int, int]:
    sent = draws.filter(item__status=ReviewItem.Status.SENT).values_list("request_id", "release_id")
    found: defaultdict[int, int] = defaultdict(int)
    for request, release in sent:
        found[release] += request not in judged
    return found


def forecast_of(project: Project, found: LiveAccuracy | None, now: datetime) -> Forecast:
    """When the interval of a release is narrow enough, at the rate of the last week."""
    return forecast(found.exact if found is not None else None, per_day=judged_per_day(project.pk, now))


def recent(now: datetime) -> date:
    """The first day of the period of the estimate."""
    return (now - timedelta(days=DAYS)).date()
