"""Waivers: what lets a model ship although a gate does not pass. Each has an owner, a reason and a last day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from evaluation.gates.verdicts import Status as Verdict
from evaluation.models import Approval, GateReport
from labeling.models import Membership
from slmstudio.errors import Refused

#: within so many days of its end a waiver is told about
SOON = 7


@dataclass(frozen=True)
class Waiver:
    """Why a model may ship although a gate does not pass, until when that holds (its last day), and who answers for
    it: a member's name, or "" for whoever approves.
    """

    reason: str
    expires: date
    owner: str = ""


@dataclass(frozen=True)
class Waived:
    """A waiver of one gate, as it stands in an approval."""

    gate: str
    title: str
    reason: str
    owner: str
    expires: date

    @property
    def days_left(self) -> int:
        """Days until its last one, which is 0; below 0 once it has ended."""
        return (self.expires - timezone.localdate()).days

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.days_left < 0

    @property
    def soon(self) -> bool:
        """Whether it ends within days."""
        return 0 <= self.days_left <= SOON


def last_day() -> date:
    """The last day that a waiver given today may hold."""
    return timezone.localdate() + timedelta(days=settings.WAIVER_MAX_DAYS)


def open_gates(report: GateReport) -> list[dict[str, Any]]:
    """The gates of a report that do not pass: what an approval has to waive, one by one."""
    return [row["gate"] for row in report.verdicts if row["status"] != Verdict.PASS]


def accepted(report: GateReport, user: User, given: Waiver | Mapping[str, Waiver] | None) -> list[dict[str, Any]]:
    """The waivers of a report as they are stored, one for each gate that does not pass; empty where all pass.

    ``given``: one for all of them, or one for each by the gate's key.

    Raises:
        Refused: ``field`` is waiver_reason, waiver_expires or waiver_owner where one was given for all; for a single
            gate's it is reason, expires or owner with a colon and the gate's key.
    """
    gates = open_gates(report)
    if report.passed or not gates:
        return []
    members = dict(_members(report))
    stored = []
    for gate in gates:
        own = isinstance(given, Mapping)
        waiver = given.get(gate["key"]) if isinstance(given, Mapping) else given
        if waiver is None or not waiver.reason.strip():
            raise Refused(
                f"“{gate['title']}” does not pass. Approving takes a waiver with a reason.",
                field=_field("reason", gate, own and waiver is not None),
            )
        if waiver.expires <= timezone.localdate():
            raise Refused("The waiver must end on a day that is still to come.", field=_field("expires", gate, own))
        if waiver.expires > last_day():
            raise Refused(
                f"A waiver lasts {settings.WAIVER_MAX_DAYS} days at most: until {last_day().isoformat()}.",
                field=_field("expires", gate, own),
            )
        owner = waiver.owner or user.get_username()
        if owner not in members:
            raise Refused(f"{owner} is no member of this project.", field=_field("owner", gate, own))
        stored.append(
            {
                "gate": gate["key"],
                "title": gate["title"],
                "reason": waiver.reason.strip(),
                "owner": owner,
                "expires": waiver.expires.isoformat(),
            }
        )
    return stored


def _field(name: str, gate: Mapping[str, Any], own: bool) -> str:
    return f"{name}:{gate['key']}" if own else f"waiver_{name}"


def owners(report: GateReport) -> list[tuple[str, str]]:
    """Who may own a waiver: name, and name with role. Everybody in the project, because any of them may do the work."""
    return [(name, f"{name} ({role})") for name, role in _members(report)]


def _members(report: GateReport) -> list[tuple[str, str]]:
    rows = Membership.objects.filter(project_id=report.project_id).order_by("user__username")
    return list(rows.values_list("user__username", "role"))


def waived(approval: Approval) -> list[Waived]:
    """The waivers of an approval, gate by gate.

    Those of an earlier version were one for all gates, with their keys alone.
    """
    stored = approval.waiver or []
    titles = {row["gate"]["key"]: row["gate"]["title"] for row in approval.report.verdicts}
    if isinstance(stored, dict):
        stored = [{**stored, "gate": key, "title": titles.get(key, key)} for key in stored["gates"]]
    return [
        Waived(row["gate"], row["title"], row["reason"], row["owner"], date.fromisoformat(row["expires"]))
        for row in stored
    ]


def grouped(rows: list[Waived]) -> list[tuple[list[str], Waived]]:
    """Waivers that say the same, told once: the titles of their gates, and one of them."""
    found: dict[tuple[str, str, date], tuple[list[str], Waived]] = {}
    for one in rows:
        found.setdefault((one.reason, one.owner, one.expires), ([], one))[0].append(one.title)
    return list(found.values())


def ended(approval: Approval) -> list[str]:
    """A sentence for each day on which waivers of an approval ended."""
    days: dict[date, list[str]] = {}
    for one in waived(approval):
        if one.over:
            days.setdefault(one.expires, []).append(f"“{one.title}”")
    return [
        f"The {'waiver' if len(titles) == 1 else 'waivers'} of {', '.join(titles)} ended on {day.isoformat()}."
        for day, titles in sorted(days.items())
    ]
