"""Two managers who decide on one report at the same time: one decision is stored, the other one is rejected."""

import threading
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from evaluation.approvals.decisions import decide
from evaluation.gates.services import create_report
from evaluation.models import Approval, AuditEntry, GateReport
from labeling.models import Membership
from slmstudio.access import Role
from slmstudio.errors import Refused
from tests.evaluation.factories import World, evaluated, make_world, pretend


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_one_report_is_decided_once(world: World) -> None:
    report = create_report(eval_run=evaluated(world, pretend(2, spoil=0.05)), baseline=None, user=world.engineer)
    second = get_user_model().objects.create_user("max")
    Membership.objects.create(project=world.project, user=second, role=Role.MANAGER)
    managers, said = [world.manager, second], []
    together = threading.Barrier(len(managers))

    def send_back(manager: Any) -> None:
        together.wait()
        try:
            decide(report=GateReport.objects.get(pk=report.pk), user=manager, decision="rejected", reason="Not yet.")
            said.append("sent back")
        except Refused as refusal:
            said.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=send_back, args=[manager]) for manager in managers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["decided", "sent back"]
    assert Approval.objects.get().decision == "rejected"
    assert AuditEntry.objects.filter(action="rejected").count() == 1
