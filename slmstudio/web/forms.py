"""Forms whose inputs look as Bootstrap draws them."""

from collections.abc import Callable
from typing import Any

from django import forms

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
        if not self.is_valid():
            return False
        try:
            change()
        except Refused as error:
            field = error.field if error.field in self.fields else None
            self.add_error(field, forms.ValidationError(error.message, code=error.code))
            return False
        return True
