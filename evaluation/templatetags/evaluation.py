"""Small drawings of rates and bounds. SVG with attributes alone, so that the page's policy for styles holds."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from evaluation.policy import METRICS, plain
from evaluation.showing import Pieces
from slmstudio.templatetags.studio import milliseconds, percent

register = template.Library()


@register.simple_tag
def interval(value: Mapping[str, Any] | None) -> SafeString | str:
    """A rate as its number, its interval and count, and a bar with the interval as a whisker."""
    if not value or not value.get("n"):
        return "–"
    words = f"{percent(value['rate'])}, 95 % interval {percent(value['low'])} to {percent(value['high'])}"
    return format_html(
        '<span class="interval" title="{} ({} of {})"><span class="interval-number">{}</span>{}'
        "<small>{}–{} · {} of {}</small></span>",
        words,
        value["k"],
        value["n"],
        percent(value["rate"]),
        bar(value),
        f"{100 * value['low']:.1f}",
        f"{100 * value['high']:.1f}",
        value["k"],
        value["n"],
    )


@register.simple_tag
def bar(value: Mapping[str, Any] | None) -> SafeString | str:
    """The bar of a rate alone, with its interval as a whisker."""
    if not value or not value.get("n"):
        return ""
    rate, low, high = (100 * float(value[name]) for name in ("rate", "low", "high"))
    return format_html(
        '<svg class="rate-bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rate-ground" x="0" y="2" width="100" height="6" rx="1"/>'
        '<rect class="rate-fill" x="0" y="2" width="{}" height="6" rx="1"/>'
        '<rect class="rate-whisker" x="{}" y="4" width="{}" height="2"/></svg>',
        f"{rate:.2f}",
        f"{low:.2f}",
        f"{max(high - low, 0.6):.2f}",
    )


@register.simple_tag
def share_bar(per_cent: float) -> SafeString:
    """A plain bar of a share in per cent."""
    return format_html(
        '<svg class="share-bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rate-ground" x="0" y="0" width="100" height="6" rx="1"/>'
        '<rect class="share-fill" x="0" y="0" width="{}" height="6" rx="1"/></svg>',
        f"{per_cent:.2f}",
    )


@register.simple_tag
def stacked(parts: list[dict[str, Any]]) -> SafeString:
    """The bar of several states that make up a whole; each part has state, left and width in per cent."""
    rows = ((part["state"], f"{part['left']:.3f}", f"{part['width']:.3f}") for part in parts if part["width"])
    return format_html(
        '<svg class="stacked" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{}</svg>',
        format_html_join("", '<rect class="part-{}" x="{}" y="0" width="{}" height="10"/>', rows),
    )


@register.simple_tag
def number_line(verdict: Mapping[str, Any]) -> SafeString | str:
    """What was measured with its bounds, and the threshold, on a line that is as wide as it needs to be."""
    points = [float(verdict[name]) for name in ("low", "measured", "high") if verdict.get(name) is not None]
    if not points:
        return ""
    metric = METRICS[verdict["gate"]["metric"]]
    limit = _limit(verdict)
    start, end = _ends([*points, limit], percent_metric=metric.percent and not metric.paired)

    def place(value: float) -> float:
        return 4 + 92 * (value - start) / (end - start)

    good = (place(limit), 100) if _good_is_up(verdict) else (0, place(limit))
    low, high = place(min(points)), place(max(points))
    status = str(verdict["status"]).lower().replace(" ", "-")
    return format_html(
        '<svg class="number-line line-{}" viewBox="0 0 100 18" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="line-good" x="{}" y="3" width="{}" height="12"/>'
        '<rect class="line-axis" x="0" y="8.5" width="100" height="1"/>'
        '<rect class="line-bounds" x="{}" y="7" width="{}" height="4"/>'
        '<rect class="line-measured" x="{}" y="4" width="1.2" height="10"/>'
        '<rect class="line-limit" x="{}" y="1" width="0.7" height="16"/></svg>',
        status,
        f"{good[0]:.2f}",
        f"{max(good[1] - good[0], 0):.2f}",
        f"{low:.2f}",
        f"{max(high - low, 0.8):.2f}",
        f"{place(float(verdict['measured'])) - 0.6:.2f}" if verdict.get("measured") is not None else "-9",
        f"{place(limit) - 0.35:.2f}",
    )


def _limit(verdict: Mapping[str, Any]) -> float:
    """Where the threshold stands on the scale of what was measured: a loss that is allowed is a negative change."""
    gate = verdict["gate"]
    return -float(gate["threshold"]) if METRICS[gate["metric"]].paired else float(gate["threshold"])


def _good_is_up(verdict: Mapping[str, Any]) -> bool:
    return verdict["gate"]["operator"] == ">="


def _ends(points: list[float], *, percent_metric: bool) -> tuple[float, float]:
    """A scale that holds all points with some air, and stays between 0 and 1 for rates."""
    low, high = min(points), max(points)
    air = (high - low) * 0.15 or abs(high) * 0.1 or 0.05
    start, end = low - air, high + air
    if percent_metric:
        start, end = max(0.0, start), min(1.0, end)
    return (start, end) if end > start else (start - 0.05, end + 0.05)


@register.simple_tag
def measured(verdict: Mapping[str, Any]) -> str:
    """The measured value of a verdict, with its unit."""
    value = verdict.get("measured")
    return "–" if value is None else in_unit(verdict["gate"]["metric"], float(value))


@register.simple_tag
def threshold(verdict: Mapping[str, Any]) -> str:
    """What a gate asks for: "≥ 99.0 %"."""
    sign = "≥" if _good_is_up(verdict) else "≤"
    return f"{sign} {in_unit(verdict['gate']['metric'], _limit(verdict))}"


@register.simple_tag
def bounds(verdict: Mapping[str, Any]) -> str:
    """The bounds of a verdict: "94.8 to 100 %"; "" where they say nothing beyond the measured value."""
    metric, low, high = verdict["gate"]["metric"], verdict.get("low"), verdict.get("high")
    if low == high:
        return ""
    if low is None or high is None:
        word, value = ("at least", low) if high is None else ("at most", high)
        return "" if value is None else f"{word} {in_unit(metric, float(value))}"
    return f"{in_unit(metric, float(low), with_unit=False)} to {in_unit(metric, float(high))}"


def in_unit(metric: str, value: float, *, with_unit: bool = True) -> str:
    """A value as people read it for this metric."""
    if METRICS[metric].paired:
        text, unit = f"{100 * value:+.1f}".replace("-", "−"), "points"
    elif METRICS[metric].percent:
        text, unit = f"{100 * value:.1f}" if value not in (0, 1) else f"{100 * value:.0f}", "%"
    elif metric == "p95_latency_ms":
        return milliseconds(value)
    else:
        text = plain(float(f"{value:.3g}"))
        unit = {"requests_per_second": "per second", "cost_per_request": "each"}.get(metric, "GB")
    return f"{text} {unit}" if with_unit else text


@register.filter
def marked(pieces: Pieces) -> SafeString:
    """Text with the characters that differ marked; a blank that differs stays visible."""
    return format_html_join("", "{}", ((_piece(is_marked, text),) for is_marked, text in pieces))


def _piece(is_marked: bool, text: str) -> SafeString | str:
    return format_html('<mark class="diff">{}</mark>', text) if is_marked else text


@register.filter
def change(value: float | None) -> str:
    """A difference of rates in points: "+3.2", "−0.5", "0.0"."""
    if value is None:
        return "–"
    return f"{100 * value:+.1f}".replace("-", "−") if round(1000 * value) else "0.0"


@register.filter
def p_value(value: float) -> str:
    """A p-value as it is read: three decimals, "< 0.001" below."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


@register.filter
def money(value: float) -> str:
    """An amount with as many digits as say something: "1,240", "3.10", "0.0042"."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


@register.filter
def spoken(value: str) -> str:
    """A name of the code in words: "still_wrong" as "still wrong"."""
    return str(value).replace("_", " ")
