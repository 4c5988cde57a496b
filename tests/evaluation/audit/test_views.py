"""The audit log of a project: read by every member, narrowed by filters, taken along; by nobody else."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.asserts import assertContains

from evaluation.audit import services as audit_services
from evaluation.models import AuditEntry
from tests.evaluation.factories import World

LOG, EXPORT = "/p/invoices/gates/audit/", "/p/invoices/gates/audit/export/"


@pytest.fixture
def manager(world: World, client: Client) -> Client:
    audit_services.record(
        project=world.project,
        user=world.manager,
        action="approved",
        about="gate report 7",
        details={"reason": "Good <b>enough</b>.", "packet_sha256": "f" * 64},
    )
    audit_services.record(
        project=world.project, user=None, action="queued", about="evaluation 3", details={"reason": "=1+1"}
    )
    client.force_login(world.manager)
    return client


def shown(page: Any) -> list[str]:
    return [row["entry"].about for row in page.context["rows"]]


def test_filters_narrow_it(world: World, manager: Client) -> None:
    for query, about in (
        ("action=approved", ["gate report 7"]),
        ("user=mona", ["gate report 7"]),
        ("user=-", ["evaluation 3"]),
        ("text=REPORT+7", ["gate report 7"]),
        ("text=enough", ["gate report 7"]),
        ("text=100%25", []),
        ("action=approved&user=-", []),
        ("since=2999-01-01", []),
        ("until=1999-01-01", []),
    ):
        names = [name for name in shown(manager.get(f"{LOG}?{query}")) if name in ("gate report 7", "evaluation 3")]
        assert names == about, query
    for query in ("since=yesterday", "action=eaten", f"text={'x' * 201}"):
        page = manager.get(f"{LOG}?{query}")
        assertContains(page, 'class="field-error"')
        assert "gate report 7" in shown(page), "an invalid filter matches all"


def test_days_are_whole_and_the_last_one_counts(world: World, manager: Client) -> None:
    today = timezone.localdate()
    whole = shown(manager.get(f"{LOG}?since={today}&until={today}"))
    assert {"gate report 7", "evaluation 3"} <= set(whole)
    assert shown(manager.get(f"{LOG}?since={today + timedelta(days=1)}")) == []
    assert len(shown(manager.get(f"{LOG}?until=9999-12-31"))) == len(whole)


def test_a_longer_log_takes_no_more_queries(world: World, manager: Client, django_assert_num_queries: Any) -> None:
    entries = [
        AuditEntry(project=world.project, user=world.manager, action="approved", about=f"gate report {n}")
        for n in range(200)
    ]
    AuditEntry.objects.bulk_create(entries)
    with django_assert_num_queries(8):
        page = manager.get(LOG)
    assert len(page.context["rows"]) == 50
    second = manager.get(f"{LOG}?action=approved&page=2")
    assertContains(second, "?action=approved&amp;page=3")


def test_the_csv_export_has_no_formulas(world: World, manager: Client) -> None:
    answer = manager.get(f"{EXPORT}?format=csv")
    assert answer["Content-Disposition"] == 'attachment; filename="invoices-audit-log.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))
    assert [int(row["number"]) for row in rows] == sorted(int(row["number"]) for row in rows), "oldest first"
    approved, queued = rows[-2:]
    assert (approved["who"], approved["action"], approved["about"]) == ("mona", "approved", "gate report 7")
    assert json.loads(approved["details"])["packet_sha256"] == "f" * 64
    assert queued["who"] == ""
    audit_services.record(project=world.project, user=None, action="queued", about="=HYPERLINK(1)")
    last = list(csv.DictReader(io.StringIO(manager.get(EXPORT).getvalue().decode("utf-8-sig"))))[-1]
    assert last["about"] == "'=HYPERLINK(1)"
