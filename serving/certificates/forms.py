"""The form of a certificate's plan."""

from typing import Any

from django import forms

from labeling.models import Document, Project
from serving.models import Certificate

_INPUT, _SELECT = {"class": "form-control"}, {"class": "form-select"}


class CertificateForm(forms.Form):
    """What is to be shown, decided before documents are labeled."""

    margin = forms.FloatField(
        label="Margin (points)",
        min_value=0.1,
        max_value=50,
        initial=3,
        help_text="The acceptable loss of accuracy. For example, 3 means at most 3 documents in 100.",
        widget=forms.NumberInput(attrs={**_INPUT, "step": "any"}),
    )
    measure = forms.ChoiceField(
        label="Measure", choices=Certificate.Measure.choices, widget=forms.Select(attrs=_SELECT)
    )
    method = forms.ChoiceField(
        label="Verdict",
        choices=Certificate.Method.choices,
        help_text="A verdict at any time needs more documents, but stays valid no matter how often you read it.",
        widget=forms.Select(attrs=_SELECT),
    )
    family = forms.ChoiceField(
        label="Families",
        required=False,
        help_text="Documents of one family are not independent, so families are counted instead of documents.",
        widget=forms.Select(attrs=_SELECT),
    )
    wanted = forms.IntegerField(
        label="Documents to label",
        required=False,
        min_value=1,
        max_value=5_000,
        help_text="Leave empty to use the calculated number.",
        widget=forms.NumberInput(attrs=_INPUT),
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        rows: Any = Document.objects.filter(project=project).order_by("-pk").values_list("metadata", flat=True)[:200]
        keys = sorted({str(key) for metadata in rows for key in metadata if key != "request_id"})
        self.fields["family"].choices = [  # type: ignore[attr-defined]
            ("", "None: every document counts"),
            ("caller", "Caller"),
            *((f"metadata.{key}"[:100], key) for key in keys),
        ]

    def values(self) -> dict[str, Any]:
        """What ``certificates.services.plan`` takes."""
        return {**self.cleaned_data, "margin": self.cleaned_data["margin"] / 100}
