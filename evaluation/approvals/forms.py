"""Forms of decisions on gate reports, with a waiver for each gate that does not pass."""

from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from evaluation.approvals.waivers import Waiver, last_day, open_gates, owners
from evaluation.models import Approval, GateReport
from evaluation.widgets import select, textarea

WAIVER_DAYS = 30
_PARTS = ("reason", "owner", "expires")


def _day() -> forms.DateField:
    limits = {"min": (timezone.localdate() + timedelta(days=1)).isoformat(), "max": last_day().isoformat()}
    return forms.DateField(
        label="Expires on",
        required=False,
        help_text=f"At most {settings.WAIVER_MAX_DAYS} days, until {limits['max']}.",
        widget=forms.DateInput(attrs={"class": "form-control", "type": "date", **limits}, format="%Y-%m-%d"),
        error_messages={"invalid": "A date like 2026-12-31."},
    )


def _reason(label: str) -> forms.CharField:
    return forms.CharField(label=label, max_length=4000, required=False, widget=textarea(2))


def _owner(people: list[tuple[str, str]]) -> forms.ChoiceField:
    return forms.ChoiceField(
        label="Owner",
        required=False,
        choices=people,
        widget=select(),
        error_messages={"invalid_choice": "Select a member of this project."},
    )


class WithdrawalForm(forms.Form):
    """The reason of a withdrawal."""

    reason = forms.CharField(
        label="Reason for withdrawal",
        max_length=4000,
        widget=textarea(2),
        error_messages={"required": "Enter a reason. It is recorded in the audit log."},
    )


class DecisionForm(forms.Form):
    """A decision. One waiver covers all open gates; a gate can have its own, in fields with its index in their names
    (``reason_0``), whose empty ones default to the common waiver.
    """

    decision = forms.ChoiceField(choices=Approval.Decision.choices, error_messages={"required": "Select a decision."})
    reason = forms.CharField(
        max_length=4000,
        widget=textarea(3),
        error_messages={"required": "Enter a reason. It is recorded in the audit log."},
    )

    def __init__(self, data: Any = None, *, report: GateReport, user: User) -> None:
        ends = min(timezone.localdate() + timedelta(days=WAIVER_DAYS), last_day())
        super().__init__(data, initial={"waiver_owner": user.get_username(), "waiver_expires": ends})
        self.gates = [] if report.passed else open_gates(report)
        if not self.gates:
            return
        people = owners(report)
        self.fields["waiver_reason"] = _reason("Reason for the waiver")
        self.fields["waiver_owner"] = _owner(people)
        self.fields["waiver_expires"] = _day()
        for place in range(len(self.gates) if len(self.gates) > 1 else 0):
            self.fields[f"reason_{place}"] = _reason("Reason")
            self.fields[f"owner_{place}"] = _owner([("", "Same as above"), *people])
            self.fields[f"expires_{place}"] = _day()

    def own_waivers(self) -> list[dict[str, Any]]:
        """The open gates with their own fields, where there are several; ``filled``: one of these has a value."""
        if len(self.gates) < 2:
            return []
        return [
            {
                "gate": gate,
                "fields": [self[f"{part}_{place}"] for part in _PARTS],
                "filled": any(self[f"{part}_{place}"].value() or self[f"{part}_{place}"].errors for part in _PARTS),
            }
            for place, gate in enumerate(self.gates)
        ]

    def waivers(self) -> dict[str, Waiver]:
        """The waivers by the gate's key, where a reason and an expiry date are given."""
        waivers = {}
        for place, gate in enumerate(self.gates):
            reason, owner, expires = (self._value(part, place) for part in _PARTS)
            if reason and expires:
                waivers[gate["key"]] = Waiver(reason, expires, owner or "")
        return waivers

    def _value(self, part: str, place: int) -> Any:
        return self.cleaned_data.get(f"{part}_{place}") or self.cleaned_data.get(f"waiver_{part}")

    def add_service_error(self, field: str, message: str) -> None:
        """Adds an error of a service at its field."""
        part, _, key = field.partition(":")
        if key:
            place = next((index for index, gate in enumerate(self.gates) if gate["key"] == key), 0)
            is_own = f"{part}_{place}" in self.fields and self.cleaned_data.get(f"{part}_{place}")
            field = f"{part}_{place}" if is_own else f"waiver_{part}"
        self.add_error(field if field in self.fields else None, message)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("decision") != Approval.Decision.APPROVED:
            return cleaned
        for place, _ in enumerate(self.gates):
            reason = cleaned.get(f"reason_{place}") or cleaned.get("waiver_reason")
            until = cleaned.get(f"expires_{place}") or cleaned.get("waiver_expires")
            if reason and not until and not {f"expires_{place}", "waiver_expires"} & set(self.errors):
                self.add_error("waiver_expires", "Enter an expiry date for the waiver.")
                break
        return cleaned
