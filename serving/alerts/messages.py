"""What alerts are called and say. Pure but for the metrics' titles."""

from serving.alerts.metrics import METRICS, Measured, Metric
from serving.alerts.states import Change
from serving.models import AlertRule
from slmstudio.text.formatting import (
    NONE,
    duration,
    exact_percent,
    format_money,
    milliseconds,
    percent,
    short_number,
)


def title(metric: str) -> str:
    """The title of a metric, also of one that is no longer known."""
    found = METRICS.get(metric)
    return metric if found is None else found.title


def shown(metric: str, value: float | None, currency: str = "") -> str:
    """A value of a metric as text."""
    found = METRICS.get(metric)
    if value is None:
        return NONE
    if found is None or found.unit == "number":
        return short_number(round(value, 2))
    if found.unit == "money":
        return format_money(value, currency)
    return percent(value) if found.unit == "percent" else milliseconds(value)


def rule_sentence(rule: AlertRule, currency: str = "") -> str:
    """When a rule fires."""
    metric = METRICS[rule.metric]
    if not metric.has_limit:
        return "when the daily check finds drift"
    limit = exact_percent(rule.limit) if metric.unit == "percent" else shown(rule.metric, rule.limit, currency)
    text = f"{'less' if metric.is_lower else 'more'} than {limit}"
    if metric.key != "replicas":
        text += f" over the last {duration(rule.window_seconds)}"
    if rule.for_seconds:
        text += f", for {duration(rule.for_seconds)}"
    if metric.needs_requests and rule.min_requests:
        text += f" (at least {rule.min_requests:,} request{'' if rule.min_requests == 1 else 's'})"
    return text


def event_sentence(rule: AlertRule, metric: Metric, measured: Measured, change: Change, currency: str = "") -> str:
    """What happened, with the figures."""
    note = f" {measured.note}." if measured.note else ""
    if change == Change.FORGOTTEN:
        return f"{metric.title}: resolved because there have been too few requests to measure it for hours."
    if not metric.has_limit:
        return f"{metric.title}:{note}" if change == Change.FIRED else f"{metric.title}: no longer found."
    if measured.value is None:
        return f"{metric.title}: no requests in the last {duration(rule.window_seconds)}."
    limit = f"limit {shown(rule.metric, rule.limit, currency)}"
    value = f"{metric.title}: {shown(rule.metric, measured.value, currency)}"
    return f"{value} in the last {duration(rule.window_seconds)}, {limit}.{note}"
