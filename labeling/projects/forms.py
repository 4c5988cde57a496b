"""The forms of projects and contracts. They validate and write nothing."""

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.text import slugify

from labeling.contract.constraints import NUMBERS
from labeling.demo.templates import templates
from labeling.models import Project
from labeling.widgets import CONTROL


class ProjectNameForm(forms.Form):
    """The name and slug of a new project."""

    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off"}))
    slug = forms.SlugField(
        label="URL name",
        max_length=60,
        required=False,
        help_text="Lowercase letters, digits and hyphens. If empty, it is derived from the name.",
        widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off", "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        """Makes the slug from the name if it is empty."""
        cleaned = super().clean() or {}
        if "slug" in cleaned and cleaned.get("name"):
            slug = (cleaned["slug"] or slugify(cleaned["name"])[:60].strip("-")).lower()
            if not slug:
                self.add_error("slug", "The name has no letters for a URL. Enter a URL name.")
            elif Project.objects.filter(slug=slug).exists():
                self.add_error("slug", f"The URL name {slug} is taken. Enter another one.")
            cleaned["slug"] = slug
        return cleaned


class ProjectForm(ProjectNameForm):
    """A new project from a template."""

    template = forms.ChoiceField(widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["name"].widget.attrs["autofocus"] = True
        self.templates = templates()
        choices = self.fields["template"]
        assert isinstance(choices, forms.ChoiceField)
        choices.choices = [(t.slug, t.title) for t in self.templates]
        choices.initial = self.templates[0].slug


class ContractForm(forms.Form):
    """The contract as typed. The service validates the schema."""

    instruction = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={**CONTROL, "rows": 3, "id": "id_instruction"}),
        help_text="The model's task, in one sentence. It precedes every document in the prompt.",
    )
    schema = forms.CharField(
        required=False,
        strip=False,
        label="JSON Schema",
        widget=forms.Textarea(
            attrs={
                "class": "form-control code-editor",
                "rows": 28,
                "spellcheck": "false",
                "autocapitalize": "off",
                "autocomplete": "off",
                "wrap": "off",
            }
        ),
    )
    latency_p95_ms = forms.DecimalField(label="p95 latency (ms)", required=False)
    requests_per_second = forms.DecimalField(label="Requests per second", required=False)
    cost_per_request = forms.DecimalField(label="Maximum cost per request", required=False)
    hardware_memory_gb = forms.DecimalField(label="Hardware memory (GB)", required=False)
    hardware_price_per_hour = forms.DecimalField(label="Hardware price per hour", required=False)
    expected_volume = forms.DecimalField(label="Documents per month", required=False)
    review_cost = forms.DecimalField(label="Cost of a human review", required=False)
    currency = forms.CharField(required=False, max_length=3, min_length=3)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    source = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in (*NUMBERS, "currency"):
            self.fields[name].widget = forms.TextInput(
                attrs={**CONTROL, "inputmode": "text" if name == "currency" else "decimal", "autocomplete": "off"}
            )

    def clean_currency(self) -> str:
        """In capital letters."""
        return str(self.cleaned_data["currency"]).upper()

    @property
    def constraint_fields(self) -> list[forms.BoundField]:
        """The constraints in display order."""
        return [self[name] for name in (*NUMBERS, "currency")]

    def constraints(self) -> dict[str, Decimal | str | None]:
        """The constraints for the service."""
        return {name: self.cleaned_data.get(name) for name in (*NUMBERS, "currency")}
