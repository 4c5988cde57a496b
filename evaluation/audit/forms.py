"""What of the audit log is asked for."""

from typing import Any

from django import forms

from evaluation.audit.services import Wanted, actions, people
from labeling.models import Project


def _day(label: str) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        widget=forms.DateInput(attrs={"class": "form-control", "type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": "A date like 2026-12-31."},
    )


class AuditForm(forms.Form):
    """Filters of the audit log; what cannot be read is said beside its field and asks for nothing."""

    action = forms.ChoiceField(label="What", required=False, widget=forms.Select(attrs={"class": "form-select"}))
    user = forms.ChoiceField(label="Who", required=False, widget=forms.Select(attrs={"class": "form-select"}))
    text = forms.CharField(
        label="About, or why",
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"class": "form-control", "type": "search", "autocomplete": "off"}),
    )
    since = _day("From")
    until = _day("To")

    def __init__(self, data: Any, *, project: Project) -> None:
        super().__init__(data)
        done, who = actions(project), people(project)
        self.fields["action"].choices = [("", "anything"), *zip(done, done, strict=True)]  # type: ignore[attr-defined]
        self.fields["user"].choices = [  # type: ignore[attr-defined]
            ("", "anybody"),
            *zip(who, who, strict=True),
            ("-", "the application"),
        ]

    def wanted(self) -> Wanted:
        """As the log takes it."""
        self.is_valid()
        said = self.cleaned_data
        return Wanted(
            action=said.get("action") or "",
            user=said.get("user") or "",
            text=said.get("text") or "",
            since=said.get("since"),
            until=said.get("until"),
        )
