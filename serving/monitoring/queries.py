"""What the monitoring page shows: figures, charts, marks, hosts."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from labeling.models import Project
from serving.models import DeploymentEvent, Release, Rollout
from serving.monitoring.charts import WIDTH, Chart, Mark, chart
from serving.traffic import hosts
from serving.traffic.series import Sums, TrafficView, VersionLine, Window, read
from slmstudio.text.formatting import format_bytes, format_clock, format_money, format_short_date, milliseconds, percent

#: versions that have a line of their own
MAX_VERSIONS = 6
_MAX_MARKS = 40
_TONES: dict[str, str] = {
    DeploymentEvent.Kind.DEPLOYED: "neutral",
    DeploymentEvent.Kind.PROMOTED: "good",
    DeploymentEvent.Kind.ABORTED: "bad",
    DeploymentEvent.Kind.ROLLED_BACK: "bad",
    DeploymentEvent.Kind.STOPPED: "bad",
}


@dataclass(frozen=True)
class Happened:
    """A change in the window. ``detail``: what the candidate's rollout was aborted or promoted for."""

    at: datetime
    text: str
    detail: str
    tone: str


@dataclass(frozen=True)
class HostLine:
    """A host as it is now."""

    host: str
    gpus: list[dict[str, object]]
    #: version, number on the host, memory in bytes
    replicas: list[tuple[int, int, int]]


@dataclass
class Page:
    """Everything on the page."""

    window: Window
    version: int | None
    view: TrafficView
    charts: list[Chart]
    happened: list[Happened]
    hosts: list[HostLine]
    versions: list[int]
    currency: str

    @property
    def total(self) -> Sums:
        return self.view.total

    @property
    def cost_per_thousand(self) -> str:
        """With the currency; "–" where nothing has a price."""
        return self.money(self.total.cost_per_thousand)

    @property
    def cost(self) -> str:
        """Of all requests."""
        return self.money(self.total.cost)

    def money(self, value: float | None) -> str:
        """An amount as text."""
        return format_money(value, self.currency)

    @property
    def line_costs(self) -> list[tuple[VersionLine, str]]:
        """The lines by version, each with its cost per 1,000 requests."""
        return [(line, self.money(line.sums.cost_per_thousand)) for line in self.view.lines]

    @property
    def latency(self) -> list[tuple[str, list[str]]]:
        """Part -> p50, p95 and p99 as text."""
        return [(part, [milliseconds(one) for one in times]) for part, times in self.total.latency.items()]


def page(project: Project, window: Window, now: datetime, version: int | None = None) -> Page:
    """The page of a project."""
    view = read(project, window, now, version=version)
    happened = _happened(project, view.starts[0], now)
    marks = [Mark(_x(one.at, view, now), f"{_clock(one.at, window)} {one.text}", one.tone) for one in happened]
    numbers = dict(Release.objects.filter(project=project).values_list("pk", "number"))
    charts = [*_traffic_charts(view, marks, project.currency), *_host_charts(project, view, marks, numbers, now)]
    versions = sorted(numbers.values(), reverse=True)[:20]
    return Page(window, version, view, charts, happened, _hosts(project, numbers, now), versions, project.currency)


def _happened(project: Project, since: datetime, now: datetime) -> list[Happened]:
    events = DeploymentEvent.objects.filter(project=project, created_at__gte=since, created_at__lte=now)
    found = []
    for event in events.select_related("release").order_by("-pk")[:_MAX_MARKS]:
        stage = f" to {event.get_stage_display()}" if event.stage else ""
        share = f" {percent(event.share, 0)}" if event.stage == "canary" else ""
        text = f"{event.get_kind_display()} {event.release or ''}{stage}{share}".strip()
        found.append(Happened(event.created_at, text, event.reason, _TONES.get(event.kind, "neutral")))
    ended = Rollout.objects.filter(deployment__project=project, ended_at__gte=since, ended_at__lte=now)
    for rollout in ended.select_related("candidate")[:_MAX_MARKS]:
        if rollout.ended_at is not None and rollout.outcome == Rollout.Outcome.PROMOTED:
            found.append(Happened(rollout.ended_at, f"rollout of {rollout.candidate} ended", rollout.reason, "good"))
    return sorted(found, key=lambda one: one.at, reverse=True)


def _x(at: datetime, view: TrafficView, now: datetime) -> float:
    whole = view.window.step * view.window.points
    return round(WIDTH * min(1.0, max(0.0, (at - view.starts[0]).total_seconds() / whole)), 1)


def _clock(at: datetime, window: Window) -> str:
    local = timezone.localtime(at)
    clock = format_clock(local)
    return clock if window.seconds <= 86_400 else f"{format_short_date(local)}, {clock}"


def _traffic_charts(view: TrafficView, marks: list[Mark], currency: str) -> list[Chart]:
    times = [_clock(start, view.window) for start in view.starts]
    points = view.points
    per_minute = 60 / view.window.step

    def each(of: Callable[[Sums], float | None]) -> list[float | None]:
        return [of(point) for point in points]

    def made(title: str, lines: list[tuple[str, list[float | None]]], show: Callable[[float], str]) -> Chart:
        return chart(title, lines, times, show, marks=marks)

    versions = sorted(view.by_version.items(), key=lambda item: -sum(item[1]))[:MAX_VERSIONS]
    rate = [(f"version {number}" if number else "no version", counts) for number, counts in versions]
    charts = [
        made(
            "Requests per minute",
            [(name, [count * per_minute for count in counts]) for name, counts in rate] or [("requests", each(_none))],
            _number,
        ),
        made("Latency", [(f"p{p}", each(_time("total", p / 100))) for p in (50, 95, 99)], milliseconds),
        made(
            "p95 by part",
            [
                (part, each(_time(part, 0.95)))
                for part in ("queue", "model", "fallback", "gateway")
                if part != "fallback" or view.total.times[part]
            ],
            milliseconds,
        ),
        made(
            "Errors",
            [
                ("failed", each(lambda one: one.failure_share)),
                ("invalid output", each(lambda one: one.invalid_share)),
                ("rejected, queue full", each(lambda one: one.rejected_share)),
            ],
            _percent,
        ),
        made(
            "Tokens per minute",
            [
                ("prompt", [point.prompt_tokens * per_minute if point.requests else None for point in points]),
                ("output", [point.output_tokens * per_minute if point.requests else None for point in points]),
            ],
            _number,
        ),
    ]
    if view.total.fallbacks:
        charts.append(made("Fallback", [("share of the requests", each(lambda one: one.fallback_share))], _percent))
    if view.total.priced:
        costs = each(lambda one: one.cost_per_thousand)
        charts.append(made("Cost per 1,000 requests", [("cost", costs)], lambda cost: format_money(cost, currency)))
    return charts


def _host_charts(
    project: Project, view: TrafficView, marks: list[Mark], numbers: dict[int, int], now: datetime
) -> list[Chart]:
    index = {start: at for at, start in enumerate(view.starts)}
    loads: dict[str, list[float | None]] = {}
    used: dict[str, list[float | None]] = {}
    memory: dict[str, list[float | None]] = {}
    length = len(view.starts)
    for sample in hosts.samples(project.pk, view.window, now):
        at = index.get(sample.minute, length - 1)
        for number, gpu in enumerate(sample.gpus):
            name = f"{sample.host} GPU {number}"
            if gpu.get("load") is not None:
                loads.setdefault(name, [None] * length)[at] = gpu["load"]
            if gpu.get("used_bytes") is not None:
                used.setdefault(name, [None] * length)[at] = gpu["used_bytes"]
        for replica in sample.replicas:
            if replica["project"] == project.pk:
                name = f"version {numbers.get(replica['release'], '–')} on {sample.host}, {replica['slot'] + 1}"
                memory.setdefault(name, [None] * length)[at] = replica["memory_bytes"]
    times = [_clock(start, view.window) for start in view.starts]
    charts = []
    for title, lines, show in (
        ("GPU load", loads, _percent), ("GPU memory", used, format_bytes), ("Memory of replicas", memory, format_bytes)
    ):  # fmt: skip
        if lines:
            charts.append(chart(title, list(lines.items())[:MAX_VERSIONS], times, show, marks=marks))
    return charts


def _hosts(project: Project, numbers: dict[int, int], now: datetime) -> list[HostLine]:
    found = []
    for sample in hosts.newest(now):
        replicas = [
            (numbers.get(one["release"], 0), one["slot"] + 1, one["memory_bytes"])
            for one in sample.replicas
            if one["project"] == project.pk
        ]
        if replicas or sample.gpus:
            found.append(HostLine(sample.host, sample.gpus, replicas))
    return found


def _time(part: str, share: float) -> Callable[[Sums], float | None]:
    return lambda point: point.time(part, share)


def _none(point: Sums) -> float | None:
    return None


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _percent(value: float) -> str:
    return percent(value, 0 if value in (0, 1) or value >= 0.1 else 1)
