"""Widgets of the forms, with their Bootstrap classes."""

from django import forms

Attribute = str | int


def text_input(**attrs: Attribute) -> forms.TextInput:
    """A line of text without autocompletion."""
    return forms.TextInput(attrs={"class": "form-control", "autocomplete": "off", **attrs})


def textarea(rows: int, **attrs: Attribute) -> forms.Textarea:
    """Several lines of text."""
    return forms.Textarea(attrs={"class": "form-control", "rows": rows, **attrs})


def narrow_number_input(**attrs: Attribute) -> forms.NumberInput:
    """A number in a narrow field."""
    return forms.NumberInput(attrs={"class": "form-control num-input", **attrs})


def select() -> forms.Select:
    """A choice from a list."""
    return forms.Select(attrs={"class": "form-select"})


def checkbox() -> forms.CheckboxInput:
    """A checkbox."""
    return forms.CheckboxInput(attrs={"class": "form-check-input"})
