"""Approved reports and packages, made without a model."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

from django.utils import timezone

from evaluation.approvals.decisions import decide
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import create_report
from evaluation.models import GateReport
from serving.models import Package, Release, Replica
from slmstudio.runs.models import Status
from tests.evaluation.factories import World, evaluated, right


def approved_report(world: World, *, decision: str = "approved") -> GateReport:
    """A report of the fine-tuned model whose gates all pass, with a manager's decision ("": none)."""
    policy = gates_of(current_policy(project=world.project)).to_json()
    gates = [gate for gate in policy["gates"] if gate["key"] == "memory"]
    set_policy(project=world.project, user=world.manager, gates=gates)
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert report.passed
    if decision:
        decide(report=report, user=world.manager, decision=decision, reason="Good.")
    return report


def built(package: Package) -> Package:
    """The package as its job leaves it."""
    Package.objects.filter(pk=package.pk).update(
        status=Status.DONE, sha256=f"{package.pk:064x}", folder_key=f"packages/test/{package.pk}"
    )
    package.refresh_from_db()
    return package


def answering(release: Release, **changes: Any) -> Replica:
    """A replica that answers for a release, and goes on doing so: no supervisor sends its next heartbeats, and rows
    that tests share are older than a replica may be silent."""
    later = timezone.now() + timedelta(hours=1)
    values: dict[str, Any] = {"state": Replica.State.READY, "address": "unix:/none", "heartbeat_at": later}
    slot = Replica.objects.filter(release=release).count()
    return Replica.objects.create(release=release, host="here", slot=slot, **{**values, **changes})


def confirmations(answer: Any, address: str) -> list[str]:
    """What a page asks before it sends the forms of an address; "" for a form that asks nothing."""
    forms = re.findall(r"<form\b[^>]*>", answer.content.decode())
    asked = [re.search(r'hx-confirm="([^"]*)"', form) for form in forms if f'hx-post="{address}"' in form]
    return [unescape(text[1]) if text else "" for text in asked]
