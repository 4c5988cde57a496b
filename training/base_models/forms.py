"""Forms that register base models."""

from typing import Any

from django import forms

_TEXT = {"class": "form-control", "autocomplete": "off", "spellcheck": "false"}


def _text(**attrs: str) -> forms.TextInput:
    return forms.TextInput(attrs={**_TEXT, **attrs})


class ModelForm(forms.Form):
    """A form with a place for the message of each field."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.widget.attrs["aria-describedby"] = f"{self.prefix}-{name}-message"


class HubForm(ModelForm):
    """A model of the hub."""

    prefix = "hub"
    hub_id = forms.CharField(
        max_length=200,
        label="Hub ID",
        help_text="organization/name, as in the URL of its page",
        widget=_text(placeholder="Qwen/Qwen3-0.6B"),
    )
    revision = forms.CharField(
        max_length=64,
        required=False,
        label="Revision",
        help_text="branch, tag or commit; main if empty",
        widget=_text(placeholder="main"),
    )


class FolderForm(ModelForm):
    """A folder on the server."""

    prefix = "folder"
    folder = forms.CharField(max_length=300, label="Folder", widget=_text(placeholder="/models/own"))
    name = forms.CharField(max_length=120, label="Name", widget=_text(placeholder="Our invoice model"))
    slug = forms.CharField(
        max_length=80, label="Short name", help_text="lowercase letters, digits, hyphens", widget=_text()
    )
    licence = forms.CharField(max_length=80, required=False, label="License", widget=_text())
