"""The form of a learning curve."""

from typing import Any

from django import forms

from evaluation.learning_curves.services import MAX_SEEDS
from evaluation.widgets import narrow_number_input, select
from labeling.models import DatasetVersion, Project
from training.models import BaseModel

CLASSIFIER = "classifier"


class LearningCurveForm(forms.Form):
    """Dataset, model, subsets and budget."""

    dataset = forms.ModelChoiceField(
        queryset=DatasetVersion.objects.none(),
        to_field_name="number",
        empty_label=None,
        label="Dataset version",
        widget=select(),
    )
    model = forms.ChoiceField(label="Model", widget=select())
    seeds = forms.IntegerField(
        label="Subsets of each size",
        min_value=1,
        max_value=MAX_SEEDS,
        initial=3,
        widget=narrow_number_input(),
        help_text="Random subsets of 12%, 25% and 50% of the training documents. The full set is trained on once.",
    )
    max_hours = forms.FloatField(
        label="Budget (hours)",
        min_value=0.01,
        max_value=1000,
        required=False,
        widget=narrow_number_input(step="any"),
        help_text="For a base model: total time of all training runs. Leave empty for no limit.",
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        datasets: Any = self.fields["dataset"]
        datasets.queryset = DatasetVersion.objects.filter(project=project).order_by("-number")
        self.models = {model.slug: model for model in BaseModel.objects.by_size() if model.is_prepared}
        choices = [(CLASSIFIER, "Classifier of fields with fixed values (seconds)")]
        self.fields["model"].choices = [*choices, *((slug, model.name) for slug, model in self.models.items())]  # type: ignore[attr-defined]

    def options(self) -> dict[str, Any]:
        """The arguments of the service."""
        data = self.cleaned_data
        return {
            "dataset": data["dataset"],
            "base_model": self.models.get(data["model"]),
            "seeds": data["seeds"],
            "max_hours": data["max_hours"],
        }
