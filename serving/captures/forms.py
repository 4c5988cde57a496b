"""The forms of the page of captured traffic."""

from typing import Any

from django import forms

from serving.captures.services import MAX_DOCUMENTS
from serving.models import Capture

_INPUT = {"class": "form-control"}


class CollectForm(forms.Form):
    """Which documents to store."""

    share = forms.FloatField(
        label="Share of the documents (%)",
        min_value=0.01,
        max_value=100,
        initial=100,
        help_text="Documents are selected by hash, so a larger share includes all documents of a smaller one.",
        widget=forms.NumberInput(attrs={**_INPUT, "step": "any"}),
    )
    limit = forms.IntegerField(
        label="Maximum documents",
        min_value=1,
        max_value=MAX_DOCUMENTS,
        initial=500,
        help_text="Newest first. Collect again for more.",
        widget=forms.NumberInput(attrs=_INPUT),
    )

    def values(self) -> dict[str, Any]:
        """What ``captures.services.collect`` takes."""
        return {"share": self.cleaned_data["share"] / 100, "limit": self.cleaned_data["limit"]}


class OptionsForm(forms.Form):
    """Who may send requests that are forwarded, and whether a client always gets the same version."""

    capture = forms.ChoiceField(
        label="Forward requests unchanged",
        required=False,
        choices=[
            ("", "No"),
            (Capture.TOKEN, "With a token for this project"),
            (Capture.OWN_KEY, "With a token, or with a registered key for the external model"),
        ],
        help_text="Only keys that are registered on this page are forwarded.",
        widget=forms.Select(attrs={"class": "form-select"}),
    )
    sticky = forms.BooleanField(
        label="Always send a client to the same version",
        required=False,
        help_text="Applies to canaries. Evidence then counts clients instead of requests, which takes much longer.",
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )


class KeyForm(forms.Form):
    """A key of the external model that a caller has today."""

    key = forms.CharField(
        label="API key for the external model",
        help_text="Only its hash and its first and last four characters are stored.",
        widget=forms.PasswordInput(attrs={**_INPUT, "autocomplete": "off"}),
    )
