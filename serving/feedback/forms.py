"""The forms of the review queue and of the sample."""

from typing import Any

from django import forms

from labeling.failure_tags import tags_of
from labeling.models import Project
from serving.feedback.redaction import KINDS
from serving.models import SamplePlan

_INPUT = {"class": "form-control"}
RIGHT, WRONG, LABEL, DISMISS = "right", "wrong", "label", "dismiss"


class DecisionForm(forms.Form):
    """What to do with items of the queue."""

    action = forms.ChoiceField(choices=[(name, name) for name in (RIGHT, WRONG, LABEL, DISMISS)])
    items = forms.TypedMultipleChoiceField(coerce=int, required=False)
    everything = forms.BooleanField(required=False)
    reason = forms.CharField(required=False, max_length=10)
    tag = forms.ChoiceField(required=False)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        items, tag = self.fields["items"], self.fields["tag"]
        assert isinstance(items, forms.TypedMultipleChoiceField)
        assert isinstance(tag, forms.ChoiceField)
        data: Any = self.data
        given = [one for one in data.getlist("items") if one.isascii() and one.isdigit() and len(one) < 19]
        items.choices = [(one, one) for one in given]
        tag.choices = [("", "No tag"), *((name, found.title) for name, found in tags_of(project).items())]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if not values.get("items") and not values.get("everything"):
            self.add_error("items", "Select at least one request.")
        return values


class PlanForm(forms.Form):
    """Shares are entered in percent."""

    share = forms.FloatField(
        label="Uniform sample (% of requests)", min_value=0, max_value=100,
        help_text="Live accuracy is measured on this sample.",
        widget=forms.NumberInput(attrs={**_INPUT, "step": "0.1"}),
    )  # fmt: skip
    per_day = forms.IntegerField(
        label="Minimum sampled requests per day (approximate)",
        min_value=0,
        max_value=100_000,
        widget=forms.NumberInput(attrs=_INPUT),
    )
    targeted_per_day = forms.IntegerField(
        label="Maximum requests per day for each other reason (approximate)", min_value=0, max_value=100_000,
        help_text="Invalid outputs, low confidence, fallbacks, disagreement in shadow. Negative feedback is always "
        "reviewed.",
        widget=forms.NumberInput(attrs=_INPUT),
    )  # fmt: skip
    low_confidence = forms.FloatField(
        label="Low-confidence threshold (%)", required=False, min_value=0, max_value=100,
        help_text="Applies to the least certain field. Leave empty to use the project's threshold.",
        widget=forms.NumberInput(attrs={**_INPUT, "step": "1"}),
    )  # fmt: skip
    redact = forms.MultipleChoiceField(
        label="Redact", required=False, choices=[(kind, title) for kind, (title, _, _) in KINDS.items()],
        help_text="Applies to the review queue and the documents created from it. Names are not detected.",
        widget=forms.CheckboxSelectMultiple,
    )  # fmt: skip
    retrain_labels = forms.IntegerField(
        label="Propose a training run after this many new labels", required=False, min_value=1, max_value=10_000_000,
        widget=forms.NumberInput(attrs=_INPUT),
    )  # fmt: skip
    retrain_tag = forms.ChoiceField(
        label="Count only documents with this tag", required=False,
        widget=forms.Select(attrs={"class": "form-select"}),
    )  # fmt: skip
    retrain_below = forms.FloatField(
        label="Propose a training run when live accuracy is below (%)", required=False, min_value=0, max_value=100,
        help_text="Applies once the upper end of its 95% interval is below this value.",
        widget=forms.NumberInput(attrs={**_INPUT, "step": "0.1"}),
    )  # fmt: skip

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        tag = self.fields["retrain_tag"]
        assert isinstance(tag, forms.ChoiceField)
        tag.choices = [("", "All labels"), *((name, found.title) for name, found in tags_of(project).items())]

    @classmethod
    def of(cls, plan: SamplePlan, project: Project) -> "PlanForm":
        """The form with a plan's values."""
        return cls(project=project, initial={
            "share": _percent(plan.share), "per_day": plan.per_day, "targeted_per_day": plan.targeted_per_day,
            "low_confidence": _percent(plan.low_confidence), "redact": plan.redact,
            "retrain_labels": plan.retrain_labels, "retrain_tag": plan.retrain_tag,
            "retrain_below": _percent(plan.retrain_below),
        })  # fmt: skip

    def values(self) -> dict[str, Any]:
        """The columns of a plan."""
        shares = {
            name: None if self.cleaned_data[name] is None else self.cleaned_data[name] / 100
            for name in ("share", "low_confidence", "retrain_below")
        }
        return {**self.cleaned_data, **shares}


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 4)
