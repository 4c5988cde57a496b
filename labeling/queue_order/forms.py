"""The form of the order of a queue."""

from decimal import Decimal
from typing import Any

from django import forms

from labeling.models import Project
from labeling.widgets import CONTROL, SELECT


class QueueOrderForm(forms.Form):
    """The order, and the share of random places in percent."""

    order = forms.ChoiceField(
        label="Order of unassigned documents",
        required=False,
        choices=Project.QueueOrder.choices,
        widget=forms.Select(attrs=SELECT),
        help_text="Rejected and assigned documents always come first.",
    )
    control_share = forms.DecimalField(
        label="Random places (%)",
        min_value=0,
        max_value=100,
        max_digits=5,
        decimal_places=1,
        widget=forms.TextInput(attrs={**CONTROL, "inputmode": "decimal", "autocomplete": "off"}),
        help_text="Random places represent the project, so a new hold-out is sampled from them only.",
    )

    @classmethod
    def of(cls, project: Project) -> "QueueOrderForm":
        """The form with the current order."""
        return cls(initial={"order": project.queue_order, "control_share": f"{100 * project.order_control:.4g}"})

    def options(self) -> dict[str, Any]:
        """The order and the share, for the service."""
        return {
            "order": self.cleaned_data["order"],
            "control_share": float(self.cleaned_data["control_share"] / Decimal(100)),
        }
