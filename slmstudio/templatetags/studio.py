"""Filters and tags for numbers, rates, times and states, the same on every page."""

from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import template
from django.forms import BoundField
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.timesince import timesince
from django.utils.timezone import localtime
from redis.exceptions import RedisError

from slmstudio.contract.schema.compiled import dumps
from slmstudio.runs.models import BackgroundRun, Status
from slmstudio.text import formatting
from slmstudio.workers import queues
from slmstudio.workers.queues import QueuePosition

register = template.Library()


def _of_known_values(format_value: Callable[..., str]) -> Callable[..., str]:
    """A filter that writes a dash for None, and for "": what a template makes of a name that does not exist."""

    @wraps(format_value)
    def formatted(value: Any, *arguments: Any) -> str:
        return formatting.NONE if value is None or value == "" else format_value(value, *arguments)

    return formatted


for _format in (
    formatting.short_number,
    formatting.percent,
    formatting.exact_percent,
    formatting.points,
    formatting.e_value,
    formatting.duration,
    formatting.milliseconds,
    formatting.throughput,
):
    register.filter(_format.__name__, _of_known_values(_format))


@register.filter
def number(value: float | str | None, digits: int = 0) -> str:
    """1234.5 as "1,234", with ``digits`` after the point; a dash if there is none."""
    return formatting.NONE if value is None or value == "" else formatting.number(float(value), digits)


@register.filter
def rate(value: dict[str, Any] | None) -> SafeString | str:
    """A rate with its count and interval: ``{"k", "n", "rate", "low", "high"}``."""
    if not value or not value.get("n"):
        return formatting.NONE
    return format_html(
        '<span class="rate"><strong>{}</strong> <small>{} of {}, {} to {}</small></span>',
        formatting.percent(value["rate"]),
        formatting.number(value["k"]),
        formatting.number(value["n"]),
        formatting.percent(value["low"]),
        formatting.percent(value["high"]),
    )


@register.filter
def format_bytes(size: float | None) -> str:
    """Bytes as "704 KB", "24 MB", "8.4 GB"; an en dash if there is no value."""
    return formatting.format_bytes(size) if size else formatting.NONE


@register.filter
def money(amount: float | str | None, currency: str = "") -> str:
    """An amount in the currency of the contract: "$0.002"; a dash if there is none."""
    return formatting.NONE if amount is None or amount == "" else formatting.format_money(float(amount), currency)


@register.filter
def relative_time(moment: datetime | None) -> SafeString | str:
    """ "3 minutes ago" with the exact time on hover."""
    if not moment:
        return formatting.NONE
    since = timesince(moment, depth=1)
    return _time_element(moment, "just now" if since.startswith("0") else f"{since} ago")


@register.filter
def full_date(day: date | None) -> str:
    """A date in a sentence: "February 3, 2026"."""
    return formatting.format_date(_local(day)) if day else formatting.NONE


@register.filter
def short_date(day: date | None) -> SafeString | str:
    """A date in a table: "Feb 3, 2026", of a moment with the exact time on hover."""
    if not day:
        return formatting.NONE
    text = formatting.format_short_date(_local(day))
    return _time_element(day, text) if isinstance(day, datetime) else text


@register.filter
def date_time(moment: datetime | None) -> str:
    """A moment as text, with its zone: "Feb 3, 2026, 2:05 PM UTC"."""
    return formatting.format_date_time(localtime(moment)) if moment else formatting.NONE


@register.filter
def clock(moment: datetime | None) -> SafeString | str:
    """The time of day of a moment today: "2:05 PM", with the exact time on hover."""
    return _time_element(moment, formatting.format_clock(localtime(moment))) if moment else formatting.NONE


def _local(day: date) -> date:
    return localtime(day) if isinstance(day, datetime) else day


def _time_element(moment: datetime, words: str) -> SafeString:
    exact = localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', exact.isoformat(), formatting.format_exact_time(exact), words
    )


@register.filter
def short_hash(value: str) -> SafeString | str:
    """The first twelve digits of a hash, the whole hash on hover."""
    return format_html('<code class="hash" title="{}">{}</code>', value, value[:12]) if value else formatting.NONE


@register.filter
def as_json(value: Any) -> str:
    """A value as JSON text."""
    return dumps(value)


@register.filter
def get(mapping: Any, key: Any) -> Any:
    """``mapping[key]``, or None."""
    return mapping.get(key) if hasattr(mapping, "get") else None


@register.filter
def button_style(tags: list[str] | str, usual: str = "primary") -> str:
    """The class of a button of allauth from its tags; without one that says more, the usual style."""
    if "danger" in tags:
        return "btn-outline-danger"
    quiet = usual == "secondary" or not {"outline", "link", "secondary"}.isdisjoint(tags)
    return "btn-outline-secondary" if quiet else "btn-primary"


@register.filter
def control(field: BoundField) -> SafeString:
    """The input of a field of a form that is not ours, with the class of our inputs."""
    kind = "" if field.widget_type == "checkbox" else "form-control"
    return field.as_widget(attrs={"class": kind, "placeholder": ""})


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
        '<span class="badge badge-{}"><i class="bi bi-{}" aria-hidden="true"></i> {}</span>',
        tone,
        icon,
        capfirst(words or state),
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


@register.simple_tag
def query_only(**parameters: Any) -> str:
    """The query string of these parameters alone, whatever the page's are."""
    return f"?{urlencode(parameters)}"


_DIFF_STYLES = {"+": "diff-new", "-": "diff-old", "@": "diff-gap"}


@register.simple_tag
def queue_position(run: BackgroundRun) -> QueuePosition | None:
    """What a queued run waits for; None for any other run, and where the queue does not answer."""
    with suppress(RedisError):
        return queues.queue_position(run) if run.status == Status.QUEUED else None
    return None


@register.simple_tag
def diff_lines(lines: list[Any]) -> SafeString:
    """The lines of a diff (objects with ``mark`` and ``text``) as spans, for a ``<pre>``."""
    return format_html_join(
        "\n",
        '<span class="{}">{}</span>',
        ((_DIFF_STYLES.get(line.mark, ""), "⋯" if line.mark == "@" else f"{line.mark} {line.text}") for line in lines),
    )


@register.simple_tag
def marked_differences(parts: list[Any]) -> SafeString:
    """Parts of a text (objects with ``text`` and ``differs``), those that differ marked, for a ``<pre>``."""
    markup = {True: "<mark>{}</mark>", False: "{}"}
    return format_html_join("", "{}", ((format_html(markup[bool(part.differs)], part.text),) for part in parts))


@register.simple_tag
def marked_pieces(pieces: list[Any]) -> SafeString:
    """Pieces of a text (``text``, ``path``, ``title``, ``color``), those of a field marked, for a ``<pre>``."""
    markup = '<mark class="mark ev-{}" data-path="{}" title="{}">{}</mark>'
    return format_html_join(
        "",
        "{}",
        (
            (format_html(markup, piece.color, piece.path, piece.title, piece.text) if piece.path else piece.text,)
            for piece in pieces
        ),
    )


@register.filter
def alert_style(tags: str) -> str:
    """The style of a message by its tags."""
    return "danger" if tags == "error" else tags or "info"
