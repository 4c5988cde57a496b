"""The filter form of the audit log."""

from typing import Any

from django import forms
from django.utils.text import capfirst

from evaluation.audit.services import ACTION_LABELS, AuditFilter, action_names, user_names
from evaluation.widgets import text_input
from labeling.models import Project
from slmstudio.web.forms import BootstrapForm


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        widget=forms.DateInput(attrs={"class": "form-control", "type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "A date like 2026-12-31."},
    )


class AuditForm(BootstrapForm):
    """Filters of the audit log; invalid values have an error and match all."""

    action = forms.ChoiceField(label="Action", required=False)
    user = forms.ChoiceField(label="User", required=False)
    text = forms.CharField(
        label="Object or reason",
        required=False,
        max_length=200,
        widget=text_input(type="search"),
    )
    since = _day("From")
    until = _day("To")

    def __init__(self, data: Any, *, project: Project) -> None:
        super().__init__(data)
        actions, users = action_names(project), user_names(project)
        labels = sorted({ACTION_LABELS.get(name, name) for name in actions})
        self.fields["action"].choices = [("", "Any action"), *((name, capfirst(name)) for name in labels)]  # type: ignore[attr-defined]
        self.fields["user"].choices = [  # type: ignore[attr-defined]
            ("", "Any user"),
            *zip(users, users, strict=True),
            ("-", "The application"),
        ]

    def filters(self) -> AuditFilter:
        """The valid filters."""
        self.is_valid()
        values = self.cleaned_data
        return AuditFilter(
            action=values.get("action") or "",
            user=values.get("user") or "",
            text=values.get("text") or "",
            since=values.get("since"),
            until=values.get("until"),
        )
