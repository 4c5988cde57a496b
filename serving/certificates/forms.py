"""The form of a certificate's plan."""

from typing import Any

from django import forms

from labeling.models import Document, Project
from serving.models import Certificate

_INPUT, _SELECT = {"class": "form-control"}, {"class": "form-select"}


class CertificateForm(forms.Form):
    """What is to be shown, decided before documents are labeled."""

    margin = forms.FloatField(
        label="Margin, points",
        min_value=0.1,
        max_value=50,
        initial=3,
        help_text="The loss of accuracy that is acceptable. 3: at most 3 documents in 100.",
        widget=forms.NumberInput(attrs={**_INPUT, "step": "any"}),
    )
    measure = forms.ChoiceField(
        label="Measure", choices=Certificate.Measure.choices, widget=forms.Select(attrs=_SELECT)
    )
    method = forms.ChoiceField(
        label="Verdict",
        choices=Certificate.Method.choices,
        help_text="At any time needs some more documents; looking again and again stays honest.",
        widget=forms.Select(attrs=_SELECT),
    )
    family = forms.ChoiceField(
        label="Families",
        required=False,
        help_text="Documents of one family are not independent: whole families count.",
        widget=forms.Select(attrs=_SELECT),
    )
    wanted = forms.IntegerField(
        label="Documents to label",
        required=False,
        min_value=1,
        max_value=5_000,
        help_text="Leave empty for the planned number.",
        widget=forms.NumberInput(attrs=_INPUT),
    )

    def __init__(self, data: Any = None, *, project: Project) -> None:
        super().__init__(data)
        rows: Any = Document.objects.filter(project=project).order_by("-pk").values_list("metadata", flat=True)[:200]
        keys = sorted({str(key) for metadata in rows for key in metadata if key != "request_id"})
        self.fields["family"].choices = [  # type: ignore[attr-defined]
            ("", "none: every document counts"),
            ("caller", "the caller"),
            *((f"metadata.{key}"[:100], key) for key in keys),
        ]

    def values(self) -> dict[str, Any]:
        """What ``certificates.services.plan`` takes."""
        return {**self.cleaned_data, "margin": self.cleaned_data["margin"] / 100}
