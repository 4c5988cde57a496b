"""Waivers: documented exceptions for gates that do not pass, each with an owner, a reason and an expiry date."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import ngettext

from evaluation.gates.metrics.metric import VerdictStatus
from evaluation.models import Approval, GateReport
from labeling.models import Membership
from slmstudio.errors import Refused
from slmstudio.text.formatting import format_date

#: a waiver with at most this many days left expires soon
EXPIRES_SOON_DAYS = 7


@dataclass(frozen=True)
class Waiver:
    """An exception for a gate: its reason, its last day, and its owner (a user name; "": the approver)."""

    reason: str
    expires: date
    owner: str = ""


@dataclass(frozen=True)
class StoredWaiver:
    """A waiver of one gate in an approval."""

    gate: str
    title: str
    reason: str
    owner: str
    expires: date

    @property
    def days_left(self) -> int:
        """Days until its last day, which is 0; negative once it expired."""
        return (self.expires - timezone.localdate()).days

    @property
    def has_expired(self) -> bool:
        """Whether it expired."""
        return self.days_left < 0

    @property
    def expires_soon(self) -> bool:
        """Whether it expires within days."""
        return 0 <= self.days_left <= EXPIRES_SOON_DAYS


def last_day() -> date:
    """The latest last day of a waiver created today."""
    return timezone.localdate() + timedelta(days=settings.WAIVER_MAX_DAYS)


def open_gates(report: GateReport) -> list[dict[str, Any]]:
    """The applicable gates of a report that do not pass; an approval needs a waiver for each."""
    return [
        row["gate"] for row in report.verdicts if row["status"] not in (VerdictStatus.PASS, VerdictStatus.INAPPLICABLE)
    ]


def validated(report: GateReport, user: User, waiver: Waiver | Mapping[str, Waiver] | None) -> list[dict[str, Any]]:
    """The waivers to store, one for each gate that does not pass; empty where all pass.

    ``waiver``: one for all of them, or one for each by the gate's key.

    Raises:
        Refused: ``field`` is waiver_reason, waiver_expires or waiver_owner for a waiver of all gates; for that of a
            single gate it is reason, expires or owner with a colon and the gate's key.
    """
    gates = open_gates(report)
    if report.passed or not gates:
        return []
    members = dict(_members(report))
    stored = []
    for gate in gates:
        own = isinstance(waiver, Mapping)
        own_waiver = waiver.get(gate["key"]) if isinstance(waiver, Mapping) else waiver
        if own_waiver is None or not own_waiver.reason.strip():
            raise Refused(
                f"“{gate['title']}” does not pass. Enter a reason for the waiver.",
                field=_field("reason", gate, own and own_waiver is not None),
            )
        if own_waiver.expires <= timezone.localdate():
            raise Refused("The expiry date must be in the future.", field=_field("expires", gate, own))
        if own_waiver.expires > last_day():
            raise Refused(
                f"A waiver lasts at most {settings.WAIVER_MAX_DAYS} days, until {format_date(last_day())}.",
                field=_field("expires", gate, own),
            )
        owner = own_waiver.owner or user.get_username()
        if owner not in members:
            raise Refused(f"{owner} is not a member of this project.", field=_field("owner", gate, own))
        stored.append(
            {
                "gate": gate["key"],
                "title": gate["title"],
                "reason": own_waiver.reason.strip(),
                "owner": owner,
                "expires": own_waiver.expires.isoformat(),
            }
        )
    return stored


def _field(name: str, gate: Mapping[str, Any], own: bool) -> str:
    return f"{name}:{gate['key']}" if own else f"waiver_{name}"


def owners(report: GateReport) -> list[tuple[str, str]]:
    """Who can own a waiver, all members: user name, and user name with role."""
    return [(name, f"{name} ({role})") for name, role in _members(report)]


def _members(report: GateReport) -> list[tuple[str, str]]:
    rows = Membership.objects.filter(project_id=report.project_id).order_by("user__username")
    return list(rows.values_list("user__username", "role"))


def waivers_of(approval: Approval) -> list[StoredWaiver]:
    """The waivers of an approval by gate; also in the earlier format, one for all gates with only their keys."""
    stored = approval.waiver or []
    titles = {row["gate"]["key"]: row["gate"]["title"] for row in approval.report.verdicts}
    if isinstance(stored, dict):
        stored = [{**stored, "gate": key, "title": titles.get(key, key)} for key in stored["gates"]]
    return [
        StoredWaiver(row["gate"], row["title"], row["reason"], row["owner"], date.fromisoformat(row["expires"]))
        for row in stored
    ]


def grouped(rows: list[StoredWaiver]) -> list[tuple[list[str], StoredWaiver]]:
    """Equal waivers, grouped: the titles of their gates, and one of them."""
    groups: dict[tuple[str, str, date], tuple[list[str], StoredWaiver]] = {}
    for row in rows:
        groups.setdefault((row.reason, row.owner, row.expires), ([], row))[0].append(row.title)
    return list(groups.values())


def expired_sentences(approval: Approval) -> list[str]:
    """A sentence for each day on which waivers of an approval expired."""
    days: dict[date, list[str]] = {}
    for waiver in waivers_of(approval):
        if waiver.has_expired:
            days.setdefault(waiver.expires, []).append(f"“{waiver.title}”")
    sentences = []
    for day, gates in sorted(days.items()):
        text = ngettext(
            "The waiver of {gates} expired on {day}.", "The waivers of {gates} expired on {day}.", len(gates)
        )
        sentences.append(text.format(gates=", ".join(gates), day=day))
    return sentences
