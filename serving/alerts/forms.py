"""The forms of alerts: a rule, and the recipients of mail. Shares are entered in percent, times in minutes."""

from typing import Any

from django import forms

from serving.alerts.metrics import METRICS, Metric
from serving.models import AlertRule

_INPUT = {"class": "form-control"}
_CHECK = {"class": "form-check-input"}


class RuleForm(forms.Form):
    """One rule. Its fields have the metric in their ids, as a page has several."""

    limit = forms.FloatField(min_value=0, max_value=1e9, widget=forms.NumberInput(attrs={**_INPUT, "step": "any"}))
    window = forms.FloatField(
        label="Window (minutes)", min_value=1, max_value=1_440, widget=forms.NumberInput(attrs=_INPUT)
    )
    duration = forms.FloatField(
        label="Exceeded for at least (minutes)", min_value=0, max_value=1_440,
        widget=forms.NumberInput(attrs={**_INPUT, "step": "any"}),
    )  # fmt: skip
    min_requests = forms.IntegerField(
        label="Minimum requests", min_value=0, max_value=1_000_000, widget=forms.NumberInput(attrs=_INPUT)
    )
    missing_fires = forms.BooleanField(
        label="Also fire when there are no requests", required=False, widget=forms.CheckboxInput(attrs=_CHECK)
    )
    enabled = forms.BooleanField(label="On", required=False, widget=forms.CheckboxInput(attrs=_CHECK))

    def __init__(self, *args: Any, metric: Metric, **kwargs: Any) -> None:
        kwargs["auto_id"] = f"id_{metric.key}_%s"
        super().__init__(*args, **kwargs)
        self.metric = metric
        limit = self.fields["limit"]
        unit = {"percent": " (%)", "ms": " (ms)"}.get(metric.unit, "")
        limit.label = f"{'Minimum' if metric.is_lower else 'Limit'}{unit}"
        unused = []
        if not metric.has_limit:
            unused += ["limit", "window", "duration"]
        if metric.key == "replicas":
            unused += ["limit", "window"]
        if not metric.needs_requests:
            unused += ["min_requests", "missing_fires"]
        for name in dict.fromkeys(unused):
            del self.fields[name]

    @classmethod
    def of(cls, rule: AlertRule) -> "RuleForm":
        """The form of a rule as it is."""
        metric = METRICS[rule.metric]
        scale = 100 if metric.unit == "percent" else 1
        initial = {
            "limit": round(rule.limit * scale, 6), "window": rule.window_seconds // 60,
            "duration": _whole(rule.for_seconds / 60), "min_requests": rule.min_requests,
            "missing_fires": rule.missing_fires, "enabled": rule.enabled,
        }  # fmt: skip
        return cls(metric=metric, initial=initial)

    def values(self, rule: AlertRule) -> dict[str, Any]:
        """Column -> value; what the form does not have stays."""
        found, scale = self.cleaned_data, 100 if self.metric.unit == "percent" else 1
        return {
            "limit": found["limit"] / scale if "limit" in found else rule.limit,
            "window_seconds": round(found["window"] * 60) if "window" in found else rule.window_seconds,
            "for_seconds": round(found["duration"] * 60) if "duration" in found else rule.for_seconds,
            "min_requests": found.get("min_requests", rule.min_requests),
            "missing_fires": found.get("missing_fires", rule.missing_fires),
            "enabled": found["enabled"],
        }


class RecipientsForm(forms.Form):
    """Who gets mail."""

    addresses = forms.CharField(
        label="Send email to", required=False, max_length=4_000,
        help_text="One address per line. Leave empty to send no email.",
        widget=forms.Textarea(attrs={**_INPUT, "rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 2)
