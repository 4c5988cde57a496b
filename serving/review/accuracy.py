"""Live accuracy: the share of answers that are right, from the judged part of the uniform sample.

A judged request is weighted by one over its probability of being drawn, so that the sampling rate may change. Requests
that were also drawn for another reason are judged sooner, so that the weights are divided by the share that is judged,
apart for these and for the others (weighting classes; Särndal et al., Model Assisted Survey Sampling, 1992, 15.6). The
interval is Wilson's with the effective number of judgments, which is right near 100% too.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from django.db.models import Sum

from labeling.models import Project
from serving.models import Deployment, Judgment, Release, SampleDay
from serving.models.review import Draw, Reason, ReviewItem
from slmstudio.intervals import effective_number, wilson

#: days of traffic that the estimate is about
DAYS = 28


@dataclass(frozen=True, slots=True)
class Sampled:
    """A request of the uniform sample. ``right``: None without a judgment; ``is_targeted``: it was also drawn for
    another reason. ``correct`` of ``counted`` fields are right."""

    probability: float
    right: bool | None = None
    is_targeted: bool = False
    correct: int = 0
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """An accuracy with its 95% interval."""

    value: float
    low: float
    high: float
    judged: int


@dataclass
class LiveAccuracy:
    """What is known about one release: the share of right requests (``exact``) and of right ``fields``. ``pending``:
    drawn requests that were sent to labeling and have no label yet."""

    sample: list[Sampled] = field(default_factory=list)
    requests: int = 0
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
        return sum(request.right is not None for request in self.sample)


def estimates(sample: Sequence[Sampled]) -> tuple[Estimate | None, Estimate | None]:
    """The share of right requests, and of right fields, the request as the unit; None without a judgment."""
    drawn, judged = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
    for request in sample:
        drawn[request.is_targeted] += 1 / request.probability
        judged[request.is_targeted] += (request.right is not None) / request.probability
    if any(drawn[cell] and not judged[cell] for cell in drawn):  # nothing is known about a class: one for all
        factor = dict.fromkeys(drawn, 1.0)
    else:
        factor = {cell: drawn[cell] / judged[cell] if judged[cell] else 1.0 for cell in drawn}
    rows = [
        (factor[request.is_targeted] / request.probability, request)
        for request in sample
        if request.right is not None
    ]  # fmt: skip
    exact = [(weight * bool(request.right), weight) for weight, request in rows]
    fields = [(weight * request.correct, weight * request.counted) for weight, request in rows if request.counted]
    return _estimate(exact), _estimate(fields)


def _estimate(groups: Sequence[tuple[float, float]]) -> Estimate | None:
    if not groups:
        return None
    rate = min(1.0, sum(part for part, _ in groups) / sum(whole for _, whole in groups))
    return Estimate(rate, *wilson(rate, effective_number(groups)), len(groups))


def live_accuracies(project: Project, since: date | None = None) -> dict[int, LiveAccuracy]:
    """Release -> its live accuracy since a day; four queries. A gold label counts before a reviewer."""
    releases: defaultdict[int, LiveAccuracy] = defaultdict(LiveAccuracy)
    draws = Draw.objects.filter(project=project, uniform_probability__isnull=False)
    days = SampleDay.objects.filter(project=project)
    if since is not None:
        draws, days = draws.filter(day__gte=since), days.filter(day__gte=since)
    judgments = Judgment.objects.of(project).most_reliable(draws.values("request_id"))
    columns = draws.values_list("request_id", "release_id", "uniform_probability", "reasons", "item__status")
    for request, release, probability, reasons, status in columns:
        judgment, row = judgments.get(request), releases[release]
        is_targeted = reasons != [Reason.UNIFORM]
        row.pending += judgment is None and status == ReviewItem.Status.SENT
        sampled = Sampled(float(probability or 0), is_targeted=is_targeted)
        if judgment is not None:
            sampled = replace(
                sampled, right=judgment.right, correct=judgment.correct_fields, counted=judgment.counted_fields
            )
        row.sample.append(sampled)
    for release, answered in days.values_list("release_id").annotate(Sum("answered")):
        releases[release].requests = answered
    for row in releases.values():
        row.exact, row.fields = estimates(row.sample)
    return dict(releases)


def by_version(
    project: Project, deployment: Deployment | None, now: datetime
) -> list[tuple[Release, LiveAccuracy | None]]:
    """The releases with traffic in the period or that serve, the newest first, with their live accuracy."""
    live = live_accuracies(project, recent(now))
    serving = {release.pk for release in deployment.serving} if deployment is not None else set()
    releases = Release.objects.filter(project=project, pk__in={*live, *serving})
    releases = releases.select_related("endpoint", "package__eval_run").order_by("-number")
    return [(release, live.get(release.pk)) for release in releases]


def recent(now: datetime) -> date:
    """The first day of the period of the estimate."""
    return (now - timedelta(days=DAYS)).date()
