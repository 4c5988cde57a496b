"""Forms of label challenges and of lookalikes."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from django import forms
from django.contrib.auth.models import User

from evaluation.label_issues.challenges import MAX_REASON_LENGTH, challengeable_fields
from evaluation.label_issues.lookalikes import DEFAULT_COUNT, MAX_COUNT, OutputFilter
from evaluation.models import EvalOutput
from evaluation.scores.display import text_of
from evaluation.widgets import narrow_number_input, select, textarea
from labeling.models import Membership, Project

#: query parameters of a filter of outputs, as on the page of an evaluation
FILTERS = tuple(field.name for field in fields(OutputFilter))
_MAX_PREVIEW_LENGTH = 60


class ChallengeForm(forms.Form):
    """The field and the reason of a label challenge."""

    field = forms.ChoiceField(label="Field", required=False, widget=select())
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=MAX_REASON_LENGTH,
        widget=textarea(3),
        help_text="Shown to the reviewer.",
    )

    def __init__(self, data: Any = None, *, output: EvalOutput, initial: dict[str, Any] | None = None) -> None:
        paths = challengeable_fields(output)
        super().__init__(data, initial={"field": paths[0] if paths else "", **(initial or {})})
        rows = {row["path"]: row for row in (output.score or {}).get("fields", [])}
        choices = [("", "The whole label"), *((path, _preview(path, rows[path])) for path in paths)]
        self.fields["field"].choices = choices  # type: ignore[attr-defined]


def _preview(path: str, row: Mapping[str, Any]) -> str:
    """A field with its gold value."""
    gold = text_of(row.get("gold")) or "none"
    return f"{path}: {gold[:_MAX_PREVIEW_LENGTH]}{'…' if len(gold) > _MAX_PREVIEW_LENGTH else ''}"


class LookalikeForm(forms.Form):
    """How many lookalikes are queued, and for whom."""

    count = forms.IntegerField(
        label="Documents",
        min_value=1,
        max_value=MAX_COUNT,
        initial=DEFAULT_COUNT,
        widget=narrow_number_input(),
        help_text=f"The most similar first, at most {MAX_COUNT}.",
    )
    people = forms.MultipleChoiceField(
        label="Annotators",
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        help_text="Assigned round robin, at the front of their queues.",
        error_messages={"required": "Select at least one annotator."},
    )

    def __init__(self, data: Any = None, *, project: Project, user: User) -> None:
        members = Membership.objects.filter(project=project).select_related("user").order_by("user__username")
        self.members = {str(row.user_id): row.user for row in members}
        annotators = [str(row.user_id) for row in members if row.role == "annotator"]
        super().__init__(data, initial={"people": annotators or [str(user.pk)]})
        choices = [
            (str(row.user_id), f"{row.user.get_username()} ({row.get_role_display().lower()})") for row in members
        ]
        self.fields["people"].choices = choices  # type: ignore[attr-defined]

    def options(self) -> dict[str, Any]:
        """The count and the annotators, for the service."""
        return {
            "count": self.cleaned_data["count"],
            "people": [self.members[key] for key in self.cleaned_data["people"]],
        }


def parse_output_filter(values: Mapping[str, str]) -> OutputFilter:
    """The filter of outputs in query parameters."""

    def value(name: str) -> str:
        return str(values.get(name, "")).replace("\0", "").strip()[:300]

    return OutputFilter(**{name: value(name) for name in FILTERS})
