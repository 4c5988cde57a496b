"""What people send about single cases and about slices that fail: a doubt, and an order for look-alikes."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from django import forms
from django.contrib.auth.models import User

from evaluation.label_issues.challenges import MOST_REASON, paths_of
from evaluation.label_issues.lookalikes import MOST, USUAL, Part
from evaluation.models import EvalOutput
from evaluation.scores.display import text_of
from labeling.models import Membership, Project

#: what an address names a part of an evaluation by, as the page of the evaluation does
PARTS = tuple(one.name for one in fields(Part))
_SHOWN = 60


class QuestionForm(forms.Form):
    """Which value of a case is doubted, and why."""

    field = forms.ChoiceField(
        label="What is wrong?", required=False, widget=forms.Select(attrs={"class": "form-select"})
    )
    reason = forms.CharField(
        label="Why?",
        required=False,
        max_length=MOST_REASON,
        widget=forms.Textarea(attrs={"class": "form-control", "rows": 3}),
        help_text="What the document says. Who decides reads it.",
    )

    def __init__(self, data: Any = None, *, output: EvalOutput, initial: dict[str, Any] | None = None) -> None:
        paths = paths_of(output)
        super().__init__(data, initial={"field": paths[0] if paths else "", **(initial or {})})
        rows = {row["path"]: row for row in (output.score or {}).get("fields", [])}
        choices = [("", "the label as a whole"), *((path, _said(path, rows[path])) for path in paths)]
        self.fields["field"].choices = choices  # type: ignore[attr-defined]


def _said(path: str, row: Mapping[str, Any]) -> str:
    """A field with what gold says of it."""
    gold = text_of(row.get("gold")) or "none"
    return f"{path}: {gold[:_SHOWN]}{'…' if len(gold) > _SHOWN else ''}"


class LookalikeForm(forms.Form):
    """How many documents that look like the failing ones are queued, and for whom."""

    count = forms.IntegerField(
        label="Documents",
        min_value=1,
        max_value=MOST,
        initial=USUAL,
        widget=forms.NumberInput(attrs={"class": "form-control num-input"}),
        help_text=f"The most alike first, {MOST} at most.",
    )
    people = forms.MultipleChoiceField(
        label="Who labels them",
        widget=forms.CheckboxSelectMultiple(attrs={"class": "form-check-input"}),
        help_text="Dealt out in turn. What is assigned to somebody comes before everything else in their queue.",
        error_messages={"required": "Choose who labels them."},
    )

    def __init__(self, data: Any = None, *, project: Project, user: User) -> None:
        members = Membership.objects.filter(project=project).select_related("user").order_by("user__username")
        self.members = {str(row.user_id): row.user for row in members}
        annotators = [str(row.user_id) for row in members if row.role == "annotator"]
        super().__init__(data, initial={"people": annotators or [str(user.pk)]})
        choices = [(str(row.user_id), f"{row.user.get_username()} ({row.get_role_display()})") for row in members]
        self.fields["people"].choices = choices  # type: ignore[attr-defined]

    def order(self) -> dict[str, Any]:
        """What the service takes beside the evaluation and its part."""
        return {
            "count": self.cleaned_data["count"],
            "people": [self.members[key] for key in self.cleaned_data["people"]],
        }


def part_of(values: Mapping[str, str]) -> Part:
    """The part of an evaluation that an address or a form names."""

    def asked(name: str) -> str:
        return str(values.get(name, "")).replace("\0", "").strip()[:300]

    return Part(**{name: asked(name) for name in PARTS})
