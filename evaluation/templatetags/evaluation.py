"""Inline SVG charts and number formats. The SVG has no style attributes, as the content security policy requires."""

from collections.abc import Mapping
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from evaluation.gates.display import bounds, measured, number_line_of, threshold
from evaluation.scores.display import Pieces
from slmstudio.text.formatting import NONE, number, percent

register = template.Library()


@register.filter
def rate_interval(value: Mapping[str, Any] | None) -> str:
    """A rate with its interval as plain text: "95.0% (90.0% to 98.0%)"."""
    if not value or not value.get("n"):
        return NONE
    if value.get("low") is None:
        return percent(value["rate"])
    return f"{percent(value['rate'])} ({percent(value['low'])} to {percent(value['high'])})"


@register.filter
def share(count: int, n: int) -> str:
    """A count out of ``n`` as "95.0%"; a dash if ``n`` is 0."""
    return percent(count / n) if n else NONE


@register.simple_tag
def interval(value: Mapping[str, Any] | None) -> SafeString | str:
    """A rate with its interval, count and bar; only rate and count if there is no interval."""
    if not value or not value.get("n"):
        return NONE
    if value.get("low") is None:
        return format_html(
            '<span class="interval"><span class="interval-number">{}</span> <small>{} of {}</small></span>',
            percent(value["rate"]),
            number(value["k"]),
            number(value["n"]),
        )
    words = f"{percent(value['rate'])}, 95% interval {percent(value['low'])} to {percent(value['high'])}"
    return format_html(
        '<span class="interval" title="{} ({} of {})"><span class="interval-number">{}</span>{}'
        '<small>{}–{}\u00a0· <span class="text-nowrap">{} of {}</span></small></span>',
        words,
        number(value["k"]),
        number(value["n"]),
        percent(value["rate"]),
        bar(value),
        percent(value["low"]),
        percent(value["high"]),
        number(value["k"]),
        number(value["n"]),
    )


@register.filter
def field_accuracy_rate(run: Any) -> dict[str, Any]:
    """The field accuracy of an evaluation with its interval over documents, if there is one.

    The interval in ``scores`` assumes independent fields, but the errors within a document are correlated.
    """
    rate = run.scores.get("field_exact")
    return {**rate_only(rate), **run.facts.get("bounds", {}).get("field_exact", {})} if rate else {}


@register.filter
def rate_only(rate: Mapping[str, Any] | None) -> dict[str, Any]:
    """Rate and counts without the interval, which is too narrow for several fields per document."""
    return {name: rate[name] for name in ("k", "n", "rate") if name in rate} if rate else {}


@register.filter
def field_rate(rate: Mapping[str, Any] | None, pattern: str) -> Mapping[str, Any]:
    """The rate of one field; without an interval for a field in a list, which occurs several times per document."""
    return rate_only(rate) if "[]" in pattern else rate or {}


@register.simple_tag
def bar(value: Mapping[str, Any] | None) -> SafeString | str:
    """The bar of a rate, with its interval as a whisker if there is one."""
    if not value or not value.get("n"):
        return ""
    return format_html(
        '<svg class="rate-bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rate-ground" x="0" y="2" width="100" height="6" rx="1"/>'
        '<rect class="rate-fill" x="0" y="2" width="{}" height="6" rx="1"/>{}</svg>',
        f"{100 * float(value['rate']):.2f}",
        "" if value.get("low") is None else _whisker(100 * float(value["low"]), 100 * float(value["high"])),
    )


def _whisker(low: float, high: float) -> SafeString:
    drawn = '<rect class="rate-whisker" x="{}" y="4" width="{}" height="2"/>'
    return format_html(drawn, f"{low:.2f}", f"{max(high - low, 0.6):.2f}")


@register.simple_tag
def share_bar(per_cent: float) -> SafeString:
    """The bar of a percentage."""
    return format_html(
        '<svg class="share-bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="rate-ground" x="0" y="0" width="100" height="6" rx="1"/>'
        '<rect class="share-fill" x="0" y="0" width="{}" height="6" rx="1"/></svg>',
        f"{per_cent:.2f}",
    )


@register.simple_tag
def stacked(parts: list[dict[str, Any]]) -> SafeString:
    """A stacked bar; each part has state, left and width in percent."""
    rows = ((part["state"], f"{part['left']:.3f}", f"{part['width']:.3f}") for part in parts if part["width"])
    return format_html(
        '<svg class="stacked" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{}</svg>',
        format_html_join("", '<rect class="part-{}" x="{}" y="0" width="{}" height="10"/>', rows),
    )


for _words in (bounds, measured, threshold):
    register.simple_tag(_words)


@register.simple_tag
def number_line(verdict: Mapping[str, Any]) -> SafeString | str:
    """The measurement with its bounds and the threshold on a number line."""
    line = number_line_of(verdict)
    if line is None:
        return ""
    status = str(verdict["status"]).lower().replace(" ", "-")
    return format_html(
        '<svg class="number-line line-{}" viewBox="0 0 100 18" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="line-good" x="{}" y="3" width="{}" height="12"/>'
        '<rect class="line-axis" x="0" y="8.5" width="100" height="1"/>'
        '<rect class="line-bounds" x="{}" y="7" width="{}" height="4"/>'
        '<rect class="line-measured" x="{}" y="4" width="1.2" height="10"/>'
        '<rect class="line-limit" x="{}" y="1" width="0.7" height="16"/></svg>',
        status,
        f"{100 * line.good[0]:.2f}",
        f"{100 * max(line.good[1] - line.good[0], 0):.2f}",
        f"{100 * line.low:.2f}",
        f"{max(100 * (line.high - line.low), 0.8):.2f}",
        f"{100 * line.measured - 0.6:.2f}" if line.measured is not None else "-9",
        f"{100 * line.limit - 0.35:.2f}",
    )


@register.filter
def marked(pieces: Pieces) -> SafeString:
    """Text with the differing characters marked. Its blanks are shown, those of the template around it are not."""
    inner = format_html_join("", "{}", ((_piece(is_marked, text),) for is_marked, text in pieces))
    return format_html('<span class="exact">{}</span>', inner)


def _piece(is_marked: bool, text: str) -> SafeString | str:
    return format_html('<mark class="diff">{}</mark>', text) if is_marked else text


@register.filter
def p_value(value: float | None) -> str:
    """A p-value with three decimals, "< 0.001" below that; a dash if there is none."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


@register.filter
def humanize_key(value: str) -> str:
    """A key with spaces: "still_wrong" as "still wrong"."""
    return str(value).replace("_", " ")
