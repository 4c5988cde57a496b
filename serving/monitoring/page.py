"""What the monitoring page shows of a window: figures, charts, marks, hosts."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.utils import timezone

from labeling.models import Project
from serving.models import DeploymentEvent, Release, Rollout
from serving.monitoring import hosts
from serving.monitoring.charts import WIDTH, Mark, chart
from serving.monitoring.figures import Figures, TrafficView, Window, read
from slmstudio.text.formatting import format_bytes, format_clock, format_money, format_short_date, milliseconds, percent

#: lines of a chart
MAX_LINES = 6
_MAX_MARKS = 40
_TONES: dict[str, str] = {
    DeploymentEvent.Kind.DEPLOYED: "neutral", DeploymentEvent.Kind.PROMOTED: "good",
    DeploymentEvent.Kind.ABORTED: "bad", DeploymentEvent.Kind.ROLLED_BACK: "bad", DeploymentEvent.Kind.STOPPED: "bad",
}  # fmt: skip
Series = list[tuple[str, list[float | None]]]


#: a change in the window: when, what, why, and its tone
Change = tuple[datetime, str, str, str]


def page(project: Project, window: Window, now: datetime, version: int | None = None) -> dict[str, Any]:
    """What the page of a project shows of a window. ``hosts``: host, resource, load and memory as they are now."""
    view = read(project, window, now, version=version)
    changes = _changes(project, view.starts[0], now)
    marks = [
        Mark(
            round(WIDTH * min(1.0, max(0.0, (at - view.starts[0]).total_seconds() / window.seconds)), 1),
            f"{_clock(at, window)} {text}", tone,
        )
        for at, text, _, tone in changes
    ]  # fmt: skip
    numbers = dict(Release.objects.filter(project=project).values_list("pk", "number"))
    names = [_clock(start, window) for start in view.starts]
    series = (
        *_traffic_series(view, window, project.currency), *_host_series(project, view, window, numbers, now),
    )  # fmt: skip
    return {
        "window": window, "version": version, "view": view, "changes": changes,
        "charts": [chart(title, lines, names, show, marks=marks) for title, lines, show in series],
        "hosts": _hosts(project, numbers, now), "versions": sorted(numbers.values(), reverse=True)[:20],
    }  # fmt: skip


def _changes(project: Project, since: datetime, now: datetime) -> list[Change]:
    rows = DeploymentEvent.objects.filter(project=project, created_at__gte=since, created_at__lte=now)
    changes: list[Change] = []
    for event in rows.select_related("release").order_by("-pk")[:_MAX_MARKS]:
        has_stage = event.release is not None and event.stage  # a change of the policy changes no stage
        stage = f" to {event.get_stage_display().lower()}" if has_stage else ""
        share = f" {percent(event.share, 0)}" if has_stage and event.stage == "canary" else ""
        text = f"{event.get_kind_display()} {event.release or ''}{stage}{share}".strip()
        changes.append((event.created_at, text, event.reason, _TONES.get(event.kind, "neutral")))
    ended = Rollout.objects.filter(
        deployment__project=project, ended_at__gte=since, ended_at__lte=now, outcome=Rollout.Outcome.PROMOTED
    )
    for rollout in ended.select_related("candidate")[:_MAX_MARKS]:
        assert rollout.ended_at is not None
        changes.append((rollout.ended_at, f"Rollout of {rollout.candidate} ended", rollout.reason, "good"))
    return sorted(changes, reverse=True)


def _clock(at: datetime, window: Window) -> str:
    local = timezone.localtime(at)
    clock = format_clock(local)
    return clock if window.seconds < 86_400 else f"{format_short_date(local)}, {clock}"


def _traffic_series(
    view: TrafficView, window: Window, currency: str
) -> list[tuple[str, Series, Callable[[float], str]]]:
    points, per_minute = view.points, 60 / window.step

    def each(of: Callable[[Figures], float | None]) -> list[float | None]:
        return [of(point) if point.requests else None for point in points]

    def times(part: str, share: float) -> list[float | None]:
        return [point.time(part, share) for point in points]

    versions = sorted(view.by_version.items(), key=lambda item: -sum(item[1]))[:MAX_LINES]
    rates: Series = [
        (f"version {number}" if number else "no version", [count * per_minute for count in counts])
        for number, counts in versions
    ]
    parts = [part for part in ("queue", "model", "fallback", "gateway") if part != "fallback" or view.total.times[part]]
    series: list[tuple[str, Series, Callable[[float], str]]] = [
        ("Requests per minute", rates, _number),
        ("Latency", [(f"p{p}", times("total", p / 100)) for p in (50, 95, 99)], milliseconds),
        ("p95 by part", [(part, times(part, 0.95)) for part in parts], milliseconds),
        ("Errors", [
            ("failed", each(lambda point: point.failure_share)),
            ("invalid output", each(lambda point: point.invalid_share)),
            ("rejected, queue full", each(lambda point: point.rejected_share)),
        ], _percent),
        ("Tokens per minute", [
            ("prompt", each(lambda point: point.prompt_tokens * per_minute)),
            ("output", each(lambda point: point.output_tokens * per_minute)),
        ], _number),
    ]  # fmt: skip
    if view.total.fallbacks:
        shares = each(lambda point: point.fallback_share)
        series.append(("Fallback", [("share of the requests", shares)], _percent))
    if view.total.priced:
        costs = each(lambda point: point.cost_per_thousand)
        series.append(("Cost per 1,000 requests", [("cost", costs)], partial(format_money, currency=currency)))
    return series


def _host_series(
    project: Project, view: TrafficView, window: Window, numbers: dict[int, int], now: datetime
) -> list[tuple[str, Series, Callable[[float], str]]]:
    index = {start: at for at, start in enumerate(view.starts)}
    length = len(view.starts)
    charts: dict[str, dict[str, list[float | None]]] = {"GPU load": {}, "GPU memory": {}, "Memory of replicas": {}}

    def note(title: str, name: str, at: int, value: float | None) -> None:
        if value is not None:
            charts[title].setdefault(name, [None] * length)[at] = value

    for sample in hosts.samples(window, now):
        at = index.get(sample.minute, length - 1)
        for number, gpu in enumerate(sample.gpus):
            note("GPU load", f"{sample.host} GPU {number}", at, gpu.get("load"))
            note("GPU memory", f"{sample.host} GPU {number}", at, gpu.get("used_bytes"))
        for replica in _replicas(project, sample.replicas):
            name = f"version {numbers.get(replica['release'], '–')} on {sample.host}, {replica['slot'] + 1}"
            note("Memory of replicas", name, at, replica["memory_bytes"])
    shows = (_percent, format_bytes, format_bytes)
    return [
        (title, list(lines.items())[:MAX_LINES], show)
        for (title, lines), show in zip(charts.items(), shows, strict=True)
    ]


def _hosts(project: Project, numbers: dict[int, int], now: datetime) -> list[tuple[str, str, str, str]]:
    rows = []
    for sample in hosts.newest(now):
        for gpu in sample.gpus:
            memory = " of ".join("–" if size is None else format_bytes(size) for size in _memory(gpu))
            rows.append((sample.host, gpu["name"], percent(gpu["load"], 0), memory))
        for replica in _replicas(project, sample.replicas):
            name = f"replica {replica['slot'] + 1} of version {numbers.get(replica['release'], 0)}"
            rows.append((sample.host, name, "–", format_bytes(replica["memory_bytes"])))
    return rows


def _memory(gpu: dict[str, Any]) -> tuple[float | None, float | None]:
    return gpu.get("used_bytes"), gpu.get("memory_bytes")


def _replicas(project: Project, replicas: Sequence[dict[str, int]]) -> list[dict[str, int]]:
    return [replica for replica in replicas if replica["project"] == project.pk]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _percent(value: float) -> str:
    return percent(value, 0 if value in (0, 1) or value >= 0.1 else 1)
