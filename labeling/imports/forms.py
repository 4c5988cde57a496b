"""What people choose on the import pages: parsing and checking, no writes."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.files import File
from django.core.files.base import ContentFile

from labeling.imports.formats import KINDS, PASTED, encodings
from labeling.imports.formats.columns import Choice
from labeling.imports.formats.options import OCR
from labeling.imports.formats.table import DELIMITERS, ENCODINGS, Layout
from labeling.imports.formats.text import SPLITS
from slmstudio.contract.json_text import JsonError, loads

CONTROL = {"class": "form-control"}
SELECT = {"class": "form-select"}


class _Files(forms.FileInput):
    """A file input that takes several."""

    allow_multiple_selected = True


class _FilesField(forms.FileField):
    """Takes any number of files; what they are is looked at by the service."""

    def clean(self, data: Any, initial: Any = None) -> None:
        """Nothing to say about one of them alone."""


class ImportForm(forms.Form):
    """Files or a folder, or a pasted text; and what to make of it."""

    file = _FilesField(required=False, label="Files", widget=_Files(attrs={"class": "visually-hidden"}))
    paths = forms.CharField(required=False, widget=forms.HiddenInput)
    rows = forms.CharField(
        required=False,
        strip=False,
        label="Or paste",
        widget=forms.Textarea(
            attrs={
                "class": "form-control code-editor",
                "rows": 6,
                "spellcheck": "false",
                "wrap": "off",
                "placeholder": 'A text, a table, or rows: {"id": "a-1", "text": "Invoice A-1029 ...", "gold": {...}}',
            }
        ),
    )
    kind = forms.ChoiceField(
        required=False, label="Kind", choices=[("", "As the file says"), *KINDS.items()], widget=forms.Select(SELECT)
    )
    split = forms.ChoiceField(
        required=False, label="A plain text is", choices=list(SPLITS.items()), widget=forms.Select(SELECT)
    )
    ocr = forms.ChoiceField(
        required=False, label="Read scans (OCR)", choices=list(OCR.items()), widget=forms.Select(SELECT)
    )
    as_holdout = forms.BooleanField(required=False, label="Hold-out: keep these for judging, never train on them")
    synthetic = forms.BooleanField(required=False, label="Synthetic: generated, not from real documents")

    def __init__(self, data: Any = None, files: Any = None, **kwargs: Any) -> None:
        super().__init__(data, files, **kwargs)
        self.given: Sequence[File] = [] if files is None else files.getlist("file")

    def clean_paths(self) -> list[str]:
        """The files' places in their folder; nothing where they cannot be known."""
        try:
            paths = loads(self.cleaned_data["paths"] or "[]")
        except JsonError:
            return []
        fits = isinstance(paths, list) and all(isinstance(path, str) for path in paths)
        return paths if fits else []

    def clean(self) -> dict[str, Any]:
        """Exactly one of files and pasted text."""
        cleaned = super().clean() or {}
        has_rows = bool(cleaned.get("rows", "").strip())
        if self.given and has_rows:
            self.add_error("rows", "Choose files or paste, not both.")
        elif not self.given and not has_rows:
            self.add_error("file", "Choose a file, or paste something below.")
        return cleaned

    def files_given(self) -> Sequence[File]:
        """What to import, as files."""
        return self.given or [ContentFile(self.cleaned_data["rows"].encode("utf-8", "surrogatepass"), name=PASTED)]

    def options(self) -> dict[str, str]:
        """What the readers are told."""
        chosen = {"split": self.cleaned_data["split"], "ocr": self.cleaned_data["ocr"]}
        return {name: value for name, value in chosen.items() if value}

    def flags(self) -> dict[str, bool]:
        """What all documents of the import become."""
        return {name: self.cleaned_data[name] for name in ("as_holdout", "synthetic")}


class ColumnsForm(forms.Form):
    """How a table is written, and what each of its columns is (``c0``, ``c1``, ...)."""

    delimiter = forms.ChoiceField(
        required=False,
        label="Cells are parted by",
        choices=[("", "as it seems"), *DELIMITERS.items()],
        widget=forms.Select(SELECT),
    )
    encoding = forms.ChoiceField(
        required=False, label="Encoding", choices=[("", "as it seems"), *ENCODINGS.items()], widget=forms.Select(SELECT)
    )
    header = forms.ChoiceField(
        required=False,
        label="First line",
        choices=[("", "has the names of the columns"), ("no", "is a row already")],
        widget=forms.Select(SELECT),
    )

    def layout(self) -> dict[str, Any]:
        """How the table is written, as its reader is told."""
        self.is_valid()
        chosen = {name: self.cleaned_data.get(name) for name in ("delimiter", "encoding")}
        options: dict[str, Any] = {name: value for name, value in chosen.items() if value}
        if self.cleaned_data.get("header") == "no":
            options["header"] = False
        return options

    def recognized(self, layout: Layout) -> None:
        """Says in the choices what was recognized in the table."""
        known = (("delimiter", DELIMITERS[layout.delimiter]), ("encoding", encodings.NAMES[layout.encoding]))
        for name, words in known:
            field: Any = self.fields[name]
            field.choices = [("", f"as it seems: {words}"), *field.choices[1:]]

    def mapping(self, names: Sequence[str], guessed: dict[str, str], known: Sequence[Choice]) -> dict[str, str]:
        """What each column is: as chosen, else as guessed."""
        values = {choice.value for choice in known}
        chosen = {name: self.data.get(f"c{number}", "") for number, name in enumerate(names)}
        return {name: chosen[name] if chosen[name] in values else guessed[name] for name in names}
