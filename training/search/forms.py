"""The form of a new search."""

import re
from typing import Any

from django import forms

from training.estimates.machines import capabilities
from training.hyperparameters.display import exact_text
from training.hyperparameters.values import CUDA_ONLY, PACKAGES
from training.runs.forms import ChoiceForm, PartlyDisabledCheckboxes, number_input
from training.search.spec import SearchSpec
from training.strict_yaml import SpecError, build


class NumbersField(forms.CharField):
    """Whole numbers with commas between them."""

    def clean(self, value: Any) -> list[int]:
        text = str(super().clean(value) or "")
        parts = [part for part in re.split(r"[\s,]+", text) if part]
        if not all(part.isdecimal() and len(part) < 6 for part in parts):
            raise forms.ValidationError("Enter whole numbers with commas between them, such as 4, 8, 16.")
        return list(dict.fromkeys(int(part) for part in parts))


_TEXT = forms.TextInput(attrs={"class": "form-control num-input", "autocomplete": "off"})
#: key of the spec -> field of the form, where the names differ
FIELD_OF = {
    "space.learning_rate": "learning_rate_high",
    "space.epochs": "epochs_high",
    "space.lora_r": "lora_r",
    "space.method": "method",
    "space.batch": "batch",
}


class SearchForm(ChoiceForm):
    """A new search: dataset and base model, budget, and the values to try."""

    name = forms.CharField(
        required=False,
        max_length=120,
        widget=forms.TextInput(attrs={"class": "form-control", "placeholder": "optional", "autocomplete": "off"}),
    )
    hours = forms.FloatField(widget=number_input(step="any", min="0"), initial=4, label="Budget (hours)")
    trials = forms.IntegerField(widget=number_input(min="1"), initial=20, label="Maximum number of trials")
    parallel = forms.IntegerField(widget=number_input(min="1"), initial=1, label="Concurrent trials")
    documents = forms.IntegerField(
        widget=number_input(min="1"), initial=50, label="Documents scored at each evaluation"
    )
    seconds = forms.IntegerField(
        widget=number_input(min="1", placeholder="none"),
        initial=120,
        required=False,
        label="Scoring time limit (seconds)",
    )
    seed = forms.IntegerField(widget=number_input(min="0"), initial=17, label="Seed")
    keep = forms.IntegerField(widget=number_input(min="1"), initial=1, label="Models to keep")
    learning_rate_low = forms.FloatField(widget=number_input(step="any", min="0"), label="Lowest learning rate")
    learning_rate_high = forms.FloatField(widget=number_input(step="any", min="0"), label="Highest learning rate")
    epochs_low = forms.IntegerField(widget=number_input(min="1"), label="Fewest epochs")
    epochs_high = forms.IntegerField(widget=number_input(min="1"), label="Most epochs")
    lora_r = NumbersField(widget=_TEXT, label="LoRA ranks")
    batch = NumbersField(widget=_TEXT, label="Batch sizes")
    method = forms.MultipleChoiceField(
        choices=[("lora", "LoRA adapter"), ("qlora", "QLoRA, 4-bit"), ("full", "Full fine-tuning")],
        widget=PartlyDisabledCheckboxes(attrs={"class": "form-check-input"}),
        label="Methods",
    )

    BUDGET = ("hours", "trials", "parallel", "documents", "seconds", "seed", "keep")
    SPACE = ("learning_rate_low", "learning_rate_high", "epochs_low", "epochs_high", "lora_r", "batch")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        worker = capabilities()
        disabled = {value for value, package in PACKAGES.items() if package in worker["missing"]}
        widget: Any = self.fields["method"].widget
        widget.disabled_values = frozenset(disabled if worker["cuda"] else disabled | set(CUDA_ONLY))
        for name in ("dataset", "base_model"):
            self.fields[name].widget.attrs["class"] = "form-select"

    @property
    def budget_fields(self) -> list[forms.BoundField]:
        """The fields of the budget."""
        return [self[name] for name in self.BUDGET]

    @property
    def space_fields(self) -> list[forms.BoundField]:
        """The fields of the values to try, without the methods."""
        return [self[name] for name in self.SPACE]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                self.spec = build(SearchSpec, self._values(cleaned))
            except SpecError as error:
                name = FIELD_OF.get(error.field, error.field)
                message = error.message[:1].upper() + error.message[1:] + "."
                self.add_error(name if name in self.fields else None, message)
        return cleaned

    @staticmethod
    def _values(cleaned: dict[str, Any]) -> dict[str, Any]:
        return {
            "dataset": cleaned["dataset"].number,
            "base_model": cleaned["base_model"].slug,
            **{name: cleaned[name] for name in SearchForm.BUDGET},
            "space": {
                "learning_rate": [cleaned["learning_rate_low"], cleaned["learning_rate_high"]],
                "epochs": [cleaned["epochs_low"], cleaned["epochs_high"]],
                **{name: list(cleaned[name]) for name in ("lora_r", "batch", "method")},
            },
        }

    def add_errors(self, errors: dict[str, str]) -> None:
        """Adds the messages of a service at their fields."""
        for field, message in errors.items():
            name = FIELD_OF.get(field, field)
            self.add_error(name if name in self.fields else None, message)


def initial_of(spec: SearchSpec) -> dict[str, Any]:
    """Initial values of the form for a spec; reading them back gives the same one."""
    space = spec.space
    same = ("dataset", "base_model", "trials", "parallel", "documents", "seed", "keep")
    return {
        **{name: getattr(spec, name) for name in same},
        "hours": exact_text(spec.hours),
        "seconds": spec.seconds or "",
        "learning_rate_low": exact_text(space.learning_rate[0]),
        "learning_rate_high": exact_text(space.learning_rate[1]),
        "epochs_low": space.epochs[0],
        "epochs_high": space.epochs[1],
        "lora_r": ", ".join(map(str, space.lora_r)),
        "batch": ", ".join(map(str, space.batch)),
        "method": list(space.method),
    }
