"""The form of a new study, made of the fields of its spec."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from django import forms
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from labeling.models import Project
from labeling.studies.kinds import Choices, StudyKind, StudySpec, refused, title_of
from labeling.studies.services import MAX_NAME_LENGTH
from labeling.widgets import CONTROL, SELECT


class NumbersField(forms.CharField):
    """Whole numbers with commas between them."""

    def clean(self, value: Any) -> list[int]:
        parts = [part for part in re.split(r"[\s,]+", str(super().clean(value) or "")) if part]
        if not all(part.isdecimal() and len(part) < 6 for part in parts):
            raise forms.ValidationError("Enter whole numbers with commas between them, such as 4, 8, 16.")
        return list(dict.fromkeys(int(part) for part in parts))


def _form_field(name: str, info: FieldInfo, choices: Choices | None) -> forms.Field:
    """The form field of a field of a spec."""
    kinds = [kind for kind in (get_args(info.annotation) or (info.annotation,)) if kind is not type(None)]
    common: dict[str, Any] = {
        "label": title_of(name, info),
        "help_text": info.description or "",
        "required": type(None) not in get_args(info.annotation),
    }
    several = get_origin(info.annotation) is tuple
    if (several and get_origin(kinds[0]) is Literal) or (choices is not None and several):
        widget = forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"})
        return forms.MultipleChoiceField(choices=choices or [], widget=widget, **common)
    if choices is not None:
        return forms.ChoiceField(choices=choices, widget=forms.Select(attrs=SELECT), **common)
    if several:
        return NumbersField(widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off"}), **common)
    low = next((item.ge for item in info.metadata if isinstance(item, Ge)), None)
    above = next((item.gt for item in info.metadata if isinstance(item, Gt)), None)
    high = next((item.le for item in info.metadata if isinstance(item, Le)), None)
    number = forms.IntegerField if kinds[0] is int else forms.FloatField
    attrs = {"class": "form-control num-input", "autocomplete": "off", "step": "1" if kinds[0] is int else "any"}
    field = number(min_value=low, max_value=high, widget=forms.NumberInput(attrs=attrs), **common)  # type: ignore[arg-type]
    if above is not None:
        field.widget.attrs["min"] = above
    return field


def shown(value: Any) -> Any:
    """A value of a spec as the form shows it; equal values are shown equally."""
    if isinstance(value, float):
        return f"{value:.12f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return [str(item) for item in value]
    return "" if value is None else str(value)


class StudyForm(forms.Form):
    """The name and the spec of a new study."""

    name = forms.CharField(
        required=False,
        max_length=MAX_NAME_LENGTH,
        label="Name",
        help_text="Optional.",
        widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off"}),
    )

    def __init__(self, data: Any = None, *, kind: StudyKind[Any], project: Project, values: Mapping[str, Any]) -> None:
        choices = kind.choices(project)
        self.kind = kind
        self.groups: list[tuple[str, list[str]]] = [("", [])]
        super().__init__(data)
        for name, info in kind.spec.model_fields.items():
            self.fields[name] = _form_field(name, info, choices.get(name))
            if name in kind.groups:
                self.groups.append((kind.groups[name], []))
            self.groups[-1][1].append(name)
            value = values.get(name, None if info.is_required() else info.get_default(call_default_factory=True))
            listed = isinstance(self.fields[name], NumbersField) and not isinstance(value, str)
            self.initial[name] = ", ".join(shown(value or ())) if listed else shown(value)
        self.initial["name"] = values.get("name", "")

    @property
    def sections(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The fields by the title of their group."""
        return [(title, [self[name] for name in names]) for title, names in self.groups]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            values = {name: cleaned[name] for name in self.kind.spec.model_fields if cleaned[name] != ""}
            try:
                self.checked: StudySpec = self.kind.spec.model_validate(values)
            except ValidationError as error:
                self.add_errors(refused(self.kind, error).errors)
        return cleaned

    def add_errors(self, errors: Mapping[str, str]) -> None:
        """Adds messages at their fields."""
        for name, message in errors.items():
            self.add_error(name if name in self.fields else None, message)
