"""The form of a prompt search."""

from typing import Any

from django import forms

from evaluation.models import Endpoint
from evaluation.prompts.services import (
    DEFAULT_DOCUMENTS,
    DEFAULT_MINUTES,
    DEFAULT_TRIALS,
    MAX_DOCUMENTS,
    MAX_MINUTES,
    MAX_TRIALS,
    MIN_DOCUMENTS,
    MIN_TRIALS,
)
from evaluation.widgets import narrow_number_input, select
from labeling.models import Project
from training.models import BaseModel


def prompted_models(project: Project) -> dict[str, BaseModel | Endpoint]:
    """The models whose prompt can be optimized, by their key in forms and on the command line."""
    bases = {f"base-{one.slug}": one for one in BaseModel.objects.order_by("name") if one.is_prepared}
    return {**bases, **{f"endpoint-{one.pk}": one for one in Endpoint.objects.in_use(project)}}


class PromptSearchForm(forms.Form):
    """A model and a budget."""

    model = forms.ChoiceField(label="Model", widget=select())
    documents = forms.IntegerField(
        label="Validation documents",
        min_value=MIN_DOCUMENTS,
        max_value=MAX_DOCUMENTS,
        initial=DEFAULT_DOCUMENTS,
        widget=narrow_number_input(),
        help_text="Each trial is scored on all of them. Benchmarks of the prompt exclude them.",
    )
    max_trials = forms.IntegerField(
        label="Trials",
        min_value=MIN_TRIALS,
        max_value=MAX_TRIALS,
        initial=DEFAULT_TRIALS,
        widget=narrow_number_input(),
        help_text="The first trial is the current prompt.",
    )
    max_minutes = forms.IntegerField(
        label="Minutes",
        min_value=1,
        max_value=MAX_MINUTES,
        initial=DEFAULT_MINUTES,
        widget=narrow_number_input(),
        help_text="No trial starts after this time.",
    )
    max_cost = forms.FloatField(
        label="Cost",
        required=False,
        min_value=0.000001,
        widget=narrow_number_input(),
        help_text="Optional, in the currency of the contract. No trial starts once this amount is spent.",
    )

    def __init__(self, data: Any = None, *, project: Project, initial: dict[str, Any] | None = None) -> None:
        super().__init__(data, initial=initial)
        self.models = prompted_models(project)
        bases = [(key, str(one)) for key, one in self.models.items() if isinstance(one, BaseModel)]
        external = [(key, str(one)) for key, one in self.models.items() if isinstance(one, Endpoint)]
        groups = {"Base models": bases, "External (documents are sent to the endpoint)": external}
        choices: Any = self.fields["model"]
        choices.choices = [(title, rows) for title, rows in groups.items() if rows]

    def service_arguments(self) -> dict[str, Any]:
        """The arguments of ``start_search``."""
        return {**self.cleaned_data, "model": self.models[self.cleaned_data["model"]]}
