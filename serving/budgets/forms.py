"""The form of a budget."""

from typing import Any

from django import forms

from serving.budgets.limits import Limits
from serving.budgets.services import FIELDS, MAX_LIMIT


def _limit(label: str) -> forms.IntegerField:
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=1,
        max_value=MAX_LIMIT,
        widget=forms.NumberInput(attrs={"class": "form-control", "autocomplete": "off"}),
    )


class BudgetForm(forms.Form):
    """Empty: no limit."""

    requests_per_month = _limit("Requests per month")
    tokens_per_month = _limit("Tokens per month")
    requests_per_minute = _limit("Requests per minute")
    tokens_per_minute = _limit("Tokens per minute")

    @classmethod
    def of(cls, limits: Limits) -> "BudgetForm":
        """The form with a budget's values."""
        return cls(initial={name: getattr(limits, name) for name in FIELDS})

    def limits(self) -> dict[str, Any]:
        """What ``services.set_budget`` takes."""
        return {name: self.cleaned_data[name] for name in FIELDS}
