"""Buttons that higher apps add to the page of an approved report."""

from dataclasses import dataclass

from django.contrib.auth.models import User

from evaluation.models import GateReport
from slmstudio.hooks import Hook


@dataclass(frozen=True)
class ReportAction:
    """A button: its label, the name of its icon, and where it leads."""

    label: str
    icon: str
    url: str


#: a report with a valid approval and the user who looks at it -> a button, or None
report_actions: Hook[[GateReport, User], ReportAction | None] = Hook()
