"""Forms whose inputs look as Bootstrap draws them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest

from slmstudio.errors import Refused

_CLASSES: dict[type[forms.Widget], str] = {forms.Select: "form-select", forms.CheckboxInput: "form-check-input"}


class BootstrapForm(forms.Form):
    """A form that gives its inputs their classes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for field in self.fields.values():
            if not isinstance(field.widget, forms.CheckboxSelectMultiple):
                field.widget.attrs.setdefault("class", _CLASSES.get(type(field.widget), "form-control"))

    def is_accepted(self, change: Callable[[], object]) -> bool:
        """Whether the values are valid and a service takes them; what it refuses becomes an error of the field."""
        if self.is_valid():
            with FieldErrors(self):
                change()
        # The browser scrolls to the field with the first error.
        if wrong := next((field for name, field in self.fields.items() if name in self.errors), None):
            wrong.widget.attrs["autofocus"] = True
        return self.is_bound and not self.errors


class FieldErrors(AbstractContextManager[Any, bool]):
    """Ends the block at a refusal, which becomes the error of its fields in ``form``, or of the form. ``names``: those
    of fields that differ from the service's.
    """

    def __init__(self, form: forms.Form, names: Mapping[str, str] | None = None) -> None:
        self.form, self.names = form, names or {}

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Refused):
            return False
        for field, message in error.errors.items():
            name = self.names.get(field, field)
            problem = forms.ValidationError(message, code=error.code)
            self.form.add_error(name if name in self.form.fields else None, problem)
        return True


class RefusalMessage(AbstractContextManager[Any, bool]):
    """Ends the block at a refusal, which becomes a message of the next page."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Refused):
            return False
        messages.error(self.request, error.message)
        return True
