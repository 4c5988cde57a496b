"""The forms of the import pages. They validate and write nothing."""

from collections.abc import Iterable, Sequence
from typing import Any

from django import forms
from django.core.files import File
from django.core.files.base import ContentFile

from labeling.imports.formats.base import PASTED, Format, Option
from labeling.imports.formats.column_mapping import MAX_COLUMNS
from labeling.imports.formats.registry import FORMATS
from labeling.projects.forms import ProjectNameForm
from labeling.widgets import SELECT
from slmstudio.contract.json_text import JsonError, loads


class _Files(forms.FileInput):
    """A file input for several files."""

    allow_multiple_selected = True


class _FilesField(forms.FileField):
    """Takes any number of files; the service checks them."""

    def clean(self, data: Any, initial: Any = None) -> None:
        """Nothing to check here."""


class OptionsForm(forms.Form):
    """A form with a field for each option of some formats."""

    def __init__(self, data: Any = None, files: Any = None, *, formats: Iterable[Format]) -> None:
        super().__init__(data, files)
        self.options = {option.name: option for file_format in formats for option in file_format.options}
        for name, option in self.options.items():
            self.fields[name] = _option_field(option)

    def option_fields(self) -> list[forms.BoundField]:
        """The fields of the options, for the template."""
        return [self[name] for name in self.options]

    def chosen(self) -> dict[str, Any]:
        """The values of the options that the user chose."""
        self.is_valid()
        values = {name: option.parse(self.cleaned_data.get(name, "")) for name, option in self.options.items()}
        return {name: value for name, value in values.items() if value is not None}

    def show_detected(self, name: str, label: str) -> None:
        """Names the detected value of an option in its choices."""
        field: Any = self.fields[name]
        field.choices = [("", f"Detected: {label}"), *field.choices[1:]]


def _option_field(option: Option) -> forms.ChoiceField:
    return forms.ChoiceField(
        required=False, label=option.label, choices=option.form_choices, widget=forms.Select(SELECT)
    )


def _fitting(option: Option) -> tuple[str, str]:
    formats = [file_format for file_format in FORMATS.values() if option in file_format.options]
    extensions = [
        extension for file_format in formats for extension in (*file_format.extensions, *file_format.usual_extensions)
    ]
    pasted = ["pasted"] if option in FORMATS["text"].options else []
    return " ".join(file_format.name for file_format in formats), " ".join([*extensions, ".zip", *pasted])


class ImportForm(OptionsForm):
    """Files, a folder or a pasted text. The options of tables are on the page of their columns."""

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
                "placeholder": 'Text, a table, or rows: {"id": "a-1", "text": "Invoice A-1029 ...", "gold": {...}}',
            }
        ),
    )
    kind = forms.ChoiceField(
        required=False,
        label="Format",
        choices=[("", "Detect automatically"), *((name, file_format.title) for name, file_format in FORMATS.items())],
        widget=forms.Select(SELECT),
    )
    as_holdout = forms.BooleanField(required=False, label="All are hold-out: for evaluation only, never for training")
    synthetic = forms.BooleanField(required=False, label="All are synthetic: generated, not real documents")
    without_labels = forms.BooleanField(
        required=False, label="Import without labels: fields such as “label” of rows without “gold” are metadata"
    )

    def __init__(self, data: Any = None, files: Any = None) -> None:
        super().__init__(
            data,
            files,
            formats=[
                file_format for file_format in FORMATS.values() if not (file_format.is_table or file_format.is_reviewed)
            ],
        )
        self.uploaded: Sequence[File[bytes]] = [] if files is None else files.getlist("file")

    @property
    def unfolded(self) -> bool:
        """Whether all options must be visible: one is chosen, or may mend an error."""
        chosen = (*self.options, "kind", "as_holdout", "synthetic", "without_labels")
        return bool(self.errors) or any(self[name].value() for name in chosen)

    def fitting_options(self) -> list[tuple[forms.BoundField, str, str]]:
        """The options, each with the names of its formats and the extensions of files that can have it."""
        return [(self[name], *_fitting(option)) for name, option in self.options.items()]

    @property
    def format_names(self) -> list[str]:
        """The names of all formats, without their descriptions."""
        return [file_format.title.partition(":")[0] for file_format in FORMATS.values()]

    def clean_paths(self) -> list[str]:
        """The paths of the files in their folder; none if they are unknown."""
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
        if self.uploaded and has_rows:
            self.add_error("rows", "Choose files or paste text, not both.")
        elif not self.uploaded and not has_rows:
            self.add_error("file", "Choose a file, or paste text below.")
        return cleaned

    def files_to_import(self) -> Sequence["File[bytes]"]:
        """The uploaded files, or the pasted text as a file."""
        if self.uploaded:
            return self.uploaded
        return [ContentFile(self.cleaned_data["rows"].encode("utf-8", "surrogatepass"), name=PASTED)]

    def flags(self) -> dict[str, bool]:
        """What applies to all documents of the import."""
        return {name: self.cleaned_data[name] for name in ("as_holdout", "synthetic")}


class NewProjectForm(ProjectNameForm):
    """A project that begins with files of exchanges."""

    file = _FilesField(
        required=False,
        label="Files",
        widget=_Files(attrs={"class": "form-control"}),
        help_text="Fine-tuning files (OpenAI, Anthropic, Gemini, Alpaca, ShareGPT, prompt and completion), both "
        "files of a batch, stored completions, request logs, and traces from Langfuse, LangSmith and OpenTelemetry.",
    )

    def __init__(self, data: Any = None, files: Any = None) -> None:
        super().__init__(data, files)
        self.uploaded: Sequence[File[bytes]] = [] if files is None else files.getlist("file")

    def clean(self) -> dict[str, Any]:
        """At least one file."""
        cleaned = super().clean() or {}
        if not self.uploaded:
            self.add_error("file", "Choose a file.")
        return cleaned


class ColumnsForm(OptionsForm):
    """The options of a table, and the role of each of its columns (``c0``, ``c1``, ...)."""

    def roles(self) -> list[str]:
        """The chosen roles of the columns, "" where none was chosen."""
        return [self.data.get(f"c{number}", "") for number in range(MAX_COLUMNS)]
