"""The database itself keeps the audit log."""

import pytest
from django.db import DatabaseError, connection, transaction

from evaluation.audit import services as audit_services
from evaluation.models import AuditEntry
from tests.evaluation.factories import World
from tests.shared_rows import shared_fixture


@shared_fixture
def entry(world: World) -> AuditEntry:
    return audit_services.record(project=world.project, user=world.manager, action="approved", about="gate report 1")


def refuses(sql: str) -> str:
    """The database's answer to a statement that must fail."""
    with pytest.raises(DatabaseError) as error, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    return str(error.value)


def test_entries_are_added_and_read_newest_first(world: World, entry: AuditEntry) -> None:
    second = audit_services.record(
        project=world.project, user=None, action="changed", about="gate policy", details={"a": 1}
    )
    assert list(audit_services.entries(project=world.project))[:2] == [second, entry]
    assert list(audit_services.entries(project=world.project, about="gate report 1")) == [entry]


def test_entries_are_neither_changed_nor_deleted(entry: AuditEntry) -> None:
    entry.action = "sent back"
    with pytest.raises(DatabaseError, match="the audit log only grows"), transaction.atomic():
        entry.save()
    with pytest.raises(DatabaseError, match="UPDATE is refused"), transaction.atomic():
        AuditEntry.objects.update(details={})
    with pytest.raises(DatabaseError, match="DELETE is refused"), transaction.atomic():
        entry.delete()
    assert "DELETE is refused" in refuses("DELETE FROM evaluation_auditentry")
    with connection.cursor() as cursor:  # the suite puts this trigger aside to be able to clean up
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE evaluation_auditentry ENABLE TRIGGER evaluation_auditentry_kept")
    assert "TRUNCATE is refused" in refuses("TRUNCATE evaluation_auditentry")
    assert "TRUNCATE is refused" in refuses("TRUNCATE labeling_project CASCADE")
    entry.refresh_from_db()
    assert entry.action == "approved"
