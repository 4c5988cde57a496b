"""What alerts are called and say. Pure but for the metrics' titles."""

from serving.alerts.metrics import METRICS, Measured, Metric
from serving.alerts.states import Change
from serving.models import AlertRule
from slmstudio.templatetags.studio import duration, milliseconds, percent


def title(metric: str) -> str:
    """The title of a metric, also of one that is no longer known."""
    found = METRICS.get(metric)
    return metric if found is None else found.title


def shown(metric: str, value: float | None) -> str:
    """A value of a metric as text."""
    found = METRICS.get(metric)
    if value is None:
        return "–"
    if found is None or found.unit in ("number", "money"):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return percent(value) if found.unit == "percent" else str(milliseconds(value))


def rule_sentence(rule: AlertRule) -> str:
    """When a rule fires."""
    metric = METRICS[rule.metric]
    if not metric.has_limit:
        return "when the daily check finds any"
    sign = "below" if metric.is_lower else "above"
    text = f"{sign} {shown(rule.metric, rule.limit)} for {duration(rule.for_seconds)}"
    if metric.key == "replicas":
        return text
    least = f", from {rule.min_requests:,} requests" if metric.needs_requests and rule.min_requests else ""
    return f"{text}, over {duration(rule.window_seconds)}{least}"


def event_sentence(rule: AlertRule, metric: Metric, measured: Measured, change: Change) -> str:
    """What happened, with the figures."""
    note = f" {measured.note}." if measured.note else ""
    if change == Change.FORGOTTEN:
        return f"{metric.title}: resolved, as there were not enough requests for hours to measure it."
    if not metric.has_limit:
        return f"{metric.title}:{note}" if change == Change.FIRED else f"{metric.title}: no longer found."
    if measured.value is None:
        return f"{metric.title}: no requests in the last {duration(rule.window_seconds)}."
    limit = f"limit {shown(rule.metric, rule.limit)}"
    value = f"{metric.title}: {shown(rule.metric, measured.value)}"
    return f"{value} in the last {duration(rule.window_seconds)}, {limit}.{note}"
