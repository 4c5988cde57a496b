"""Filters and tags for numbers, rates, times and states, the same on every page."""

from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.timezone import localtime

from slmstudio.contract.schema.compiled import dumps
from slmstudio.storage import sizes

register = template.Library()


@register.filter
def percent(value: float | None, digits: int = 1) -> str:
    """0.983 as "98.3 %"; an en dash if there is no value."""
    return "–" if value is None else f"{100 * float(value):.{digits}f} %"


@register.filter
def points(value: float | None) -> str:
    """A difference of shares in percentage points with its sign: 0.012 as "+1.2"."""
    if value is None:
        return "–"
    text = f"{100 * float(value):+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


@register.filter
def rate(value: dict[str, Any] | None) -> SafeString | str:
    """A rate with its count and interval: ``{"k", "n", "rate", "low", "high"}``."""
    if not value or not value.get("n"):
        return "–"
    return format_html(
        '<span class="rate"><strong>{}</strong> <small>{} of {}, {} to {}</small></span>',
        percent(value["rate"]),
        value["k"],
        value["n"],
        percent(value["low"]),
        percent(value["high"]),
    )


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds as "850 ms", "42 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None:
        return "–"
    seconds = float(seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


@register.filter
def throughput(per_second: float | None) -> str:
    """A rate as "2,139/s", "12.3/s", "4.2/min" or "1.5/h", in the largest unit with a value of at least 1."""
    if per_second is None:
        return "–"
    if per_second >= 100:
        return f"{per_second:,.0f}/s"
    for seconds, unit in ((1, "s"), (60, "min")):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:.1f}/{unit}"
    return f"{per_second * 3600:.1f}/h"


@register.filter
def milliseconds(value: float | None) -> str:
    """Milliseconds as "850 ms" or "1.25 s"."""
    if value is None:
        return "–"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


@register.filter
def format_bytes(number: float | None) -> str:
    """Bytes as "704 KB", "24 MB", "8.4 GB"; an en dash if there is no value."""
    return sizes.format_bytes(number) if number else "–"


@register.filter
def relative_time(moment: datetime | None) -> SafeString | str:
    """ "3 minutes ago" with the exact time on hover."""
    if moment is None:
        return "–"
    since = timesince(moment, depth=1)
    words = "just now" if since.startswith("0") else f"{since} ago"
    exact = localtime(moment)
    title = f"{exact:%Y-%m-%d %H:%M:%S %Z}"
    return format_html('<time datetime="{}" title="{}">{}</time>', exact.isoformat(), title, words)


@register.filter
def short_hash(value: str) -> SafeString | str:
    """The first twelve digits of a hash, the whole hash on hover."""
    return format_html('<code class="hash" title="{}">{}</code>', value, value[:12]) if value else "–"


@register.filter
def as_json(value: Any) -> str:
    """A value as JSON text."""
    return dumps(value)


@register.filter
def get(mapping: Any, key: Any) -> Any:
    """``mapping[key]``, or None."""
    return mapping.get(key) if hasattr(mapping, "get") else None


@register.filter
def pairs(mapping: Any) -> list[tuple[Any, Any]]:
    """Names with their values, for user-defined names: ``.items`` would return the value named "items"."""
    return list(mapping.items()) if hasattr(mapping, "items") else []


_BADGE_STYLES = {
    "queued": ("secondary", "hourglass"),
    "running": ("primary", "arrow-repeat"),
    "done": ("success", "check-lg"),
    "failed": ("danger", "x-lg"),
    "cancelled": ("secondary", "slash-circle"),
    "complete": ("success", "check-lg"),
    "pruned": ("secondary", "scissors"),
    "new": ("secondary", "circle"),
    "in_progress": ("primary", "circle-half"),
    "submitted": ("success", "check-circle"),
    "approved": ("success", "check-circle-fill"),
    "rejected": ("danger", "x-circle"),
    "skipped": ("secondary", "skip-forward"),
    "PASS": ("success", "check-circle-fill"),
    "FAIL": ("danger", "x-octagon-fill"),
    "NOT PROVEN": ("warning", "question-diamond-fill"),
    "INAPPLICABLE": ("secondary", "dash-circle"),
}


@register.simple_tag
def badge(state: str, words: str = "") -> SafeString:
    """A state as an icon and a word, never by color alone."""
    tone, icon = _BADGE_STYLES.get(str(state), ("secondary", "circle"))
    return format_html(
        '<span class="badge badge-{}"><i class="bi bi-{}" aria-hidden="true"></i> {}</span>', tone, icon, words or state
    )


@register.simple_tag(takes_context=True)
def query(context: dict[str, Any], **changes: Any) -> str:
    """The page's query string with some parameters changed; an empty value removes one."""
    parameters = context["request"].GET.copy()
    for name, value in changes.items():
        if value in ("", None):
            parameters.pop(name, None)
        else:
            parameters[name] = value
    return f"?{parameters.urlencode()}" if parameters else "?"
