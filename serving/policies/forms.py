"""The form of an answer policy."""

from typing import Any

from django import forms

from evaluation.models import Endpoint
from labeling.models import Project
from serving.models import AnswerPolicy

_INPUT = {"class": "form-control"}
_SELECT = {"class": "form-select"}
_CHECK = {"class": "form-check-input"}


def _number(**more: Any) -> forms.NumberInput:
    return forms.NumberInput(attrs={**_INPUT, **more})


class PolicyForm(forms.Form):
    """Probabilities and shares are entered in percent."""

    budget_wrong = forms.IntegerField(
        label="Maximum wrong", required=False, min_value=1, max_value=1_000_000, widget=_number(),
        help_text="Leave empty for no error budget; every answer is then returned.",
    )  # fmt: skip
    budget_of = forms.IntegerField(label="Out of", min_value=2, max_value=100_000_000, widget=_number())
    budget_unit = forms.ChoiceField(
        label="Budget unit", choices=AnswerPolicy.Unit.choices, widget=forms.Select(attrs=_SELECT)
    )
    basis = forms.ChoiceField(
        label="Confidence limit", choices=AnswerPolicy.Basis.choices, widget=forms.Select(attrs=_SELECT)
    )
    rest = forms.ChoiceField(
        label="All other answers go to", choices=AnswerPolicy.Rest.choices, widget=forms.Select(attrs=_SELECT)
    )
    audit_share = forms.FloatField(
        label="Audited share of the automatic answers (%)", min_value=0.1, max_value=100, widget=_number(step="0.1"),
        help_text="Sampled at random for the review queue.",
    )  # fmt: skip
    endpoint = forms.ModelChoiceField(
        queryset=Endpoint.objects.none(), label="Larger model", required=False, empty_label="None",
        widget=forms.Select(attrs=_SELECT),
    )  # fmt: skip
    on_invalid = forms.BooleanField(
        label="Use the larger model when the output is invalid",
        required=False,
        widget=forms.CheckboxInput(attrs=_CHECK),
    )
    on_unavailable = forms.BooleanField(
        label="Use the larger model when the small model does not respond",
        required=False,
        widget=forms.CheckboxInput(attrs=_CHECK),
    )
    on_invariant = forms.BooleanField(
        label="Use the larger model when a rule is violated", required=False, widget=forms.CheckboxInput(attrs=_CHECK)
    )
    min_confidence = forms.FloatField(
        label="Minimum confidence of every field (%)", required=False, min_value=0, max_value=100,
        widget=_number(step="0.1"),
        help_text="Below this, the larger model answers; without one, the answer needs review.",
    )  # fmt: skip
    field_confidence = forms.CharField(
        label="Minimum confidence by field (%)", required=False,
        help_text="One field per line, such as: total_amount 97.5",
        widget=forms.Textarea(attrs={**_INPUT, "rows": 3, "spellcheck": "false"}),
    )  # fmt: skip

    BUDGET = ("budget_wrong", "budget_of", "budget_unit", "basis", "rest", "audit_share")
    FALLBACK = (
        "endpoint", "on_invalid", "on_unavailable", "on_invariant", "min_confidence", "field_confidence",
    )  # fmt: skip

    def __init__(self, data: Any = None, *, project: Project, policy: AnswerPolicy | None = None) -> None:
        super().__init__(data, initial=_initial(policy) if policy is not None else None)
        self.fields["endpoint"].queryset = Endpoint.objects.in_use(project)  # type: ignore[attr-defined]

    @property
    def budget_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.BUDGET]

    @property
    def fallback_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in self.FALLBACK]

    def clean_field_confidence(self) -> dict[str, float]:
        """Field pattern -> probability."""
        found = {}
        for line in self.cleaned_data["field_confidence"].splitlines():
            if line.strip():
                pattern, _, number = line.strip().rpartition(" ")
                try:
                    found[pattern.strip()] = float(number.replace(",", ".").rstrip("%")) / 100
                except ValueError:
                    raise forms.ValidationError(f"Enter a field and a number: {line.strip()[:60]}") from None
        return found

    def values(self) -> dict[str, Any]:
        """What ``policies.services.set_policy`` takes."""
        minimum = self.cleaned_data["min_confidence"]
        return {
            **self.cleaned_data,
            "min_confidence": None if minimum is None else minimum / 100,
            "audit_share": self.cleaned_data["audit_share"] / 100,
        }


def _initial(policy: AnswerPolicy) -> dict[str, Any]:
    names = (*PolicyForm.BUDGET, *PolicyForm.FALLBACK)
    values = {name: getattr(policy, name) for name in names}
    minimum = policy.min_confidence
    values["min_confidence"] = None if minimum is None else round(100 * minimum, 4)
    values["audit_share"] = round(100 * policy.audit_share, 4)
    lines = [f"{name} {100 * value:g}" for name, value in policy.field_confidence.items()]
    values["field_confidence"] = "\n".join(lines)
    return values
