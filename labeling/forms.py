"""What people type on the labeling side's pages: parsing and checking, no writes."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.files import File
from django.core.files.base import ContentFile
from django.utils.text import slugify

from labeling.models import DocumentState, Project
from labeling.services.importing import MAX_UPLOAD
from labeling.services.projects import NUMBERS
from labeling.templates_catalogue import templates

CONTROL = {"class": "form-control"}
SELECT = {"class": "form-select"}


class ProjectForm(forms.Form):
    """A new project: its name, its address, the template it starts from."""

    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off"}))
    slug = forms.SlugField(
        label="Address",
        max_length=60,
        required=False,
        help_text="Lower-case letters, digits and dashes. Left empty, it is made from the name.",
        widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off", "spellcheck": "false"}),
    )
    template = forms.ChoiceField(widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.templates = templates()
        choices = self.fields["template"]
        assert isinstance(choices, forms.ChoiceField)
        choices.choices = [(t.slug, t.title) for t in self.templates]
        choices.initial = self.templates[0].slug

    def clean(self) -> dict[str, Any]:
        """Makes the address from the name where none was given."""
        cleaned = super().clean() or {}
        if "slug" in cleaned and cleaned.get("name"):
            slug = (cleaned["slug"] or slugify(cleaned["name"])[:60].strip("-")).lower()
            if not slug:
                self.add_error("slug", "The name has no letters an address can be made of; give one here.")
            elif Project.objects.filter(slug=slug).exists():
                self.add_error("slug", f"The address {slug} is taken; give another one.")
            cleaned["slug"] = slug
        return cleaned


class ContractForm(forms.Form):
    """The contract as typed. The schema is judged by the service, which names the place of an error."""

    instruction = forms.CharField(
        required=False, strip=False, widget=forms.Textarea(attrs={**CONTROL, "rows": 3, "id": "id_instruction"})
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
    latency_p95_ms = forms.DecimalField(label="Latency, 95 % within (ms)", required=False)
    requests_per_second = forms.DecimalField(label="Requests per second", required=False)
    cost_per_request = forms.DecimalField(label="Cost per request at most", required=False)
    hardware_memory_gb = forms.DecimalField(label="Memory of the hardware (GB)", required=False)
    hardware_price_per_hour = forms.DecimalField(label="Price of the hardware per hour", required=False)
    currency = forms.CharField(required=False, max_length=3, min_length=3)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in (*NUMBERS, "currency"):
            self.fields[name].widget = forms.TextInput(
                attrs={**CONTROL, "inputmode": "text" if name == "currency" else "decimal", "autocomplete": "off"}
            )

    def clean_currency(self) -> str:
        """As a code: capital letters."""
        return str(self.cleaned_data["currency"]).upper()

    @property
    def constraint_fields(self) -> list[forms.BoundField]:
        """The constraints in the order they are shown."""
        return [self[name] for name in (*NUMBERS, "currency")]

    def constraints(self) -> dict[str, Decimal | str | None]:
        """The constraints as the service takes them."""
        return {name: self.cleaned_data.get(name) for name in (*NUMBERS, "currency")}


class ImportForm(forms.Form):
    """A JSONL file, or the rows themselves."""

    file = forms.FileField(
        required=False, widget=forms.FileInput(attrs={**CONTROL, "accept": ".jsonl,.ndjson,.json,.txt"})
    )
    rows = forms.CharField(
        required=False,
        strip=False,
        label="Or paste rows",
        widget=forms.Textarea(
            attrs={
                "class": "form-control code-editor",
                "rows": 8,
                "spellcheck": "false",
                "wrap": "off",
                "placeholder": '{"id": "a-1", "text": "Invoice A-1029 ...", "gold": {"invoice_id": "A-1029"}}',
            }
        ),
    )
    as_holdout = forms.BooleanField(required=False, label="Hold-out: keep these for judging, never train on them")
    synthetic = forms.BooleanField(required=False, label="Synthetic: generated, not from real documents")

    def clean_file(self) -> File | None:
        """Within the limit."""
        upload: File | None = self.cleaned_data["file"]
        if upload is not None and upload.size > MAX_UPLOAD:
            raise forms.ValidationError("The file is over 1 GB. Split it and import the parts one after the other.")
        return upload

    def clean(self) -> dict[str, Any]:
        """Exactly one of file and rows."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        has_file, has_rows = cleaned.get("file") is not None, bool(cleaned.get("rows", "").strip())
        if has_file and has_rows:
            self.add_error("rows", "Choose a file or paste rows, not both.")
        elif not has_file and not has_rows:
            self.add_error("file", "Choose a file, or paste rows below.")
        return cleaned

    def upload(self) -> File:
        """What to import, as a file."""
        upload: File | None = self.cleaned_data["file"]
        return upload or ContentFile(self.cleaned_data["rows"].encode(), name="pasted.jsonl")


class FreezeForm(forms.Form):
    """How a dataset version is drawn. Shares in per cent."""

    validation = forms.DecimalField(
        label="Validation, % of what is not held out", initial=10, min_value=0, max_value=50, decimal_places=1
    )
    holdout = forms.DecimalField(
        label="Hold-out, % of all", initial=20, min_value=0, max_value=90, decimal_places=1, required=False
    )
    seed = forms.IntegerField(initial=17, min_value=0, max_value=2**31 - 1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs.update(CONTROL)

    def knobs(self) -> dict[str, Any]:
        """The knobs as the service takes them."""
        return {
            "seed": self.cleaned_data["seed"],
            "validation_share": float(self.cleaned_data["validation"]) / 100,
            "holdout_share": float(self.cleaned_data["holdout"] or 0) / 100,
        }


class DocumentFilter(forms.Form):
    """What the list of documents shows; all of it lives in the address, and what is not understood is left out."""

    q = forms.CharField(required=False, max_length=200)
    state = forms.ChoiceField(required=False, choices=[("", "any state"), *DocumentState.choices])
    tag = forms.CharField(required=False, max_length=40)
    holdout = forms.ChoiceField(required=False, choices=[("", ""), ("yes", "hold-out"), ("no", "not held out")])
    order = forms.ChoiceField(required=False, choices=[("", "oldest first"), ("newest", "newest first")])
    after = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)
    before = forms.IntegerField(required=False, min_value=0, max_value=2**63 - 1)

    def chosen(self) -> dict[str, Any]:
        """The values that were understood."""
        self.is_valid()
        return {name: self.cleaned_data.get(name) for name in self.fields}
