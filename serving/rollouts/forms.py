"""The form of a rollout's plan."""

from typing import Any

from django import forms

from serving.models import RolloutPlan
from serving.models.rollouts import DEFAULT_MARGIN

_INPUT = {"class": "form-control"}


class PlanForm(forms.Form):
    """Shares are entered in percent."""

    auto_promote = forms.BooleanField(
        label="Promote automatically",
        required=False,
        help_text="A ready candidate moves to the next stage. A bad candidate is always aborted.",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )
    max_failure_rate = forms.FloatField(
        label="Maximum failed requests (%)",
        required=False,
        min_value=0.01,
        max_value=50,
        widget=forms.NumberInput(attrs={**_INPUT, "step": "0.01"}),
    )
    p95_ms = forms.IntegerField(
        label="Maximum p95 latency (ms)",
        required=False,
        min_value=1,
        max_value=600_000,
        widget=forms.NumberInput(attrs=_INPUT),
    )
    max_disagreement = forms.FloatField(
        label="Maximum documents on which most fields differ (%)",
        required=False,
        min_value=5,
        max_value=99,
        help_text="Detects a broken model that still writes valid outputs. Leave empty for no limit.",
        widget=forms.NumberInput(attrs={**_INPUT, "step": "1"}),
    )
    min_requests = forms.IntegerField(
        label="Minimum candidate requests at each share",
        min_value=1,
        max_value=1_000_000,
        widget=forms.NumberInput(attrs=_INPUT),
    )
    margin = forms.FloatField(
        label="Maximum ratio of candidate failures to stable failures",
        min_value=1.05,
        max_value=10,
        initial=DEFAULT_MARGIN,
        widget=forms.NumberInput(attrs={**_INPUT, "step": "0.05"}),
    )

    @classmethod
    def of(cls, plan: RolloutPlan) -> "PlanForm":
        """The form with a plan's values."""
        rate, apart = plan.max_failure_rate, plan.max_disagreement
        values: dict[str, Any] = {
            "auto_promote": plan.auto_promote, "p95_ms": plan.p95_ms, "min_requests": plan.min_requests,
            "margin": plan.margin, "max_failure_rate": None if rate is None else round(100 * rate, 4),
            "max_disagreement": None if apart is None else round(100 * apart, 2),
        }  # fmt: skip
        return cls(initial=values)

    def values(self) -> dict[str, Any]:
        """What ``rollouts.services.set_plan`` takes."""
        shares = {
            name: None if self.cleaned_data[name] is None else self.cleaned_data[name] / 100
            for name in ("max_failure_rate", "max_disagreement")
        }
        return {**self.cleaned_data, **shares}
