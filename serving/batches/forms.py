"""The form of a batch."""

from typing import Any

from django import forms


class BatchForm(forms.Form):
    """A file of documents."""

    file = forms.FileField(
        label="File",
        help_text='JSONL with one {"text": …} per line (optional: id, page, caller), or a JSON list. Up to 200 MB.',
        widget=forms.FileInput(attrs={"class": "form-control", "accept": ".jsonl,.ndjson,.json"}),
    )
    evidence = forms.BooleanField(
        label="Include the position of each value in the text",
        required=False,
        initial=True,
        widget=forms.CheckboxInput(attrs={"class": "form-check-input"}),
    )

    def __init__(self, data: Any = None, files: Any = None) -> None:
        # The page has another form with a file.
        super().__init__(data, files, auto_id="batch_%s")
