"""The forms of settings and members. They validate and write nothing."""

from decimal import Decimal
from typing import Any

from django import forms

from labeling.models import Project
from labeling.projects import groups, service_accounts
from labeling.projects.members import MAX_OVERLAP
from labeling.widgets import CONTROL, SELECT
from slmstudio.access import Role

SHARES = ("overlap_share", "withheld_share", "confidence_floor")


def _share(label: str, help_text: str) -> forms.DecimalField:
    widget = forms.TextInput(attrs={**CONTROL, "inputmode": "decimal", "autocomplete": "off"})
    return forms.DecimalField(
        label=label, min_value=0, max_value=100, max_digits=7, decimal_places=3, help_text=help_text, widget=widget
    )


class WorkflowForm(forms.Form):
    """The workflow settings of a project. Shares are percentages."""

    review_required = forms.BooleanField(
        required=False, label="Review: a submitted label becomes gold when a reviewer approves it"
    )
    four_eyes = forms.BooleanField(
        required=False, label="Four-eyes review: users cannot review their own labels or approve their own runs"
    )
    overlap_share = _share(
        "Documents with overlap (%)", "Share of new documents. Annotators do not see each other's labels."
    )
    overlap_people = forms.IntegerField(
        label="Overlap (annotators per document)",
        min_value=2,
        max_value=MAX_OVERLAP,
        widget=forms.NumberInput(attrs=CONTROL),
    )
    withheld_share = _share("Pre-labels withheld (%)", "Share of documents, to measure automation bias.")
    confidence_floor = _share(
        "Review threshold (% confidence)",
        "Pre-filled fields with a higher confidence that pass all checks are skipped.",
    )
    extra_tags = forms.CharField(
        required=False,
        max_length=3_000,
        label="Tags of this project",
        help_text="In addition to the built-in tags, separated by commas.",
        widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off", "spellcheck": "false"}),
    )

    @classmethod
    def of(cls, project: Project) -> "WorkflowForm":
        """The form with the current settings."""
        initial: dict[str, Any] = {
            "review_required": project.review_required,
            "four_eyes": project.four_eyes,
            "overlap_people": project.overlap_people,
            "extra_tags": ", ".join(project.extra_tags),
        }
        for name in SHARES:
            initial[name] = f"{100 * getattr(project, name):.6g}"
        return cls(initial=initial)

    def values(self) -> dict[str, Any]:
        """The settings for the service."""
        values = dict(self.cleaned_data)
        for name in SHARES:
            values[name] = float(values[name] / Decimal(100))
        values["extra_tags"] = values["extra_tags"].split(",")
        return values


class MemberForm(forms.Form):
    """A user to add to the project."""

    username = forms.CharField(
        label="Username",
        max_length=150,
        widget=forms.TextInput(
            attrs={**CONTROL, "autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    role = forms.ChoiceField(choices=Role.choices, widget=forms.Select(attrs=SELECT))


class RenameForm(forms.Form):
    """Another name of the project."""

    name = forms.CharField(max_length=120, widget=forms.TextInput(attrs={**CONTROL, "autocomplete": "off"}))


class InvitationForm(forms.Form):
    """An invitation to the project."""

    email = forms.EmailField(
        label="Email address",
        required=False,
        help_text="Optional: the link is shown here, too.",
        widget=forms.EmailInput(attrs={**CONTROL, "autocomplete": "off"}),
    )
    role = forms.ChoiceField(choices=Role.choices, widget=forms.Select(attrs=SELECT))


class GroupForm(forms.Form):
    """A group at the company's provider and its role."""

    group = forms.CharField(
        label="Group",
        max_length=200,
        widget=forms.TextInput(
            attrs={**CONTROL, "autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    role = forms.ChoiceField(choices=groups.ROLES, widget=forms.Select(attrs=SELECT))


class ServiceAccountForm(forms.Form):
    """A service account to add to the project."""

    name = forms.CharField(
        label="Name",
        max_length=40,
        widget=forms.TextInput(
            attrs={**CONTROL, "autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}
        ),
    )
    role = forms.ChoiceField(choices=service_accounts.ROLES, widget=forms.Select(attrs=SELECT))
