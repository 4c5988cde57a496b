"""The audit log is a chain that shows what was changed, taken away or added at the wrong place."""

import hashlib
import json
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from evaluation.audit import hash_chain
from evaluation.audit import services as audit_services
from evaluation.label_issues import lookalikes
from evaluation.models import AuditEntry
from labeling.documents import bulk_edit
from labeling.models import Document
from labeling.projects.services import create_project
from slmstudio.contract.json_text import sha256
from tests.evaluation.factories import World, make_world
from tests.evaluation.gold_desk import doubted
from tests.evaluation.label_issues.test_lookalikes import failed, failing_run
from tests.shared_rows import shared_fixture


@shared_fixture
def log(world: World) -> World:
    for number in range(5):
        audit_services.record(
            project=world.project,
            user=world.manager,
            action="changed",
            about=f"thing {number}",
            details={"é": [number]},
        )
    return world


def unguarded(*statements: str) -> None:
    """What the owner of the table could do."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE evaluation_auditentry DISABLE TRIGGER USER")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("ALTER TABLE evaluation_auditentry ENABLE TRIGGER USER")


def test_each_entry_follows_the_one_before(log: World) -> None:
    forged = AuditEntry(project=log.project, action="a", about="b", position=99, sha256="f" * 64)
    forged.save()  # what is given for a place does not count
    rows = list(AuditEntry.objects.filter(project=log.project).order_by("pk"))
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    assert [row.previous_sha256 for row in rows] == ["", *(row.sha256 for row in rows[:-1])]
    chain = hash_chain.verify(log.project)
    assert (chain.entries, chain.head, chain.problem) == (len(rows), rows[-1].sha256, "")


def test_a_temporary_table_of_its_name_does_not_count(log: World) -> None:
    before = hash_chain.verify(log.project).entries
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE evaluation_auditentry (LIKE public.evaluation_auditentry)")
        cursor.execute(
            "INSERT INTO public.evaluation_auditentry (project_id, action, about, details, created_at, position, "
            "previous_sha256, sha256) VALUES (%s, 'a', 'b', '{}', now(), 0, '', '') RETURNING position",
            [log.project.pk],
        )
        assert cursor.fetchone()[0] == before + 1
        cursor.execute("DROP TABLE pg_temp.evaluation_auditentry")
    assert hash_chain.verify(log.project).problem == ""


def test_projects_have_chains_of_their_own(log: World) -> None:
    other = create_project(owner=log.owner, name="Other", slug="other", template="invoice")
    entry = audit_services.record(project=other, user=None, action="a", about="b")
    entry.refresh_from_db()
    assert entry.position == AuditEntry.objects.filter(project=other).count()
    assert hash_chain.verify(other).problem == hash_chain.verify(log.project).problem == ""


def test_a_change_shows(log: World) -> None:
    entry = "evaluation_auditentry"
    for statement, words in (
        (f"UPDATE {entry} SET action = 'approved'", "was changed"),
        (f"UPDATE {entry} SET details = '{{}}'", "was changed"),
        (f"UPDATE {entry} SET user_id = NULL", "was changed"),
        (f"UPDATE {entry} SET created_at = now()", "was changed"),
        (f"DELETE FROM {entry}", "is missing"),
        (f"UPDATE {entry} SET sha256 = repeat('f', 64)", "was changed"),
        (f"UPDATE {entry} SET previous_sha256 = '', sha256 = ''", "was changed"),
    ):
        with transaction.atomic():
            unguarded(f"{statement} WHERE about = 'thing 2'")
            assert words in hash_chain.verify(log.project).problem, statement
            with pytest.raises(CommandError):
                call_command("verify_audit", stdout=StringIO())
            transaction.set_rollback(True)
    assert hash_chain.verify(log.project).problem == ""


def test_a_truncated_log_is_detected_by_a_stored_hash(log: World) -> None:
    head = hash_chain.verify(log.project).head
    audit_services.record(project=log.project, user=None, action="a", about="later")
    assert hash_chain.verify(log.project, head=head).problem == ""
    unguarded("DELETE FROM evaluation_auditentry WHERE about IN ('thing 4', 'later')")
    assert hash_chain.verify(log.project).problem == ""
    assert head in hash_chain.verify(log.project, head=head).problem
    with pytest.raises(CommandError):
        call_command("verify_audit", log.project.slug, head=head, stdout=StringIO())


def test_disabled_triggers_are_reported(log: World) -> None:
    with connection.cursor() as cursor:  # the suite puts one aside
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE evaluation_auditentry ENABLE TRIGGER USER")
    assert hash_chain.disabled_triggers() == []
    out = StringIO()
    call_command("verify_audit", stdout=out)
    assert "head" in out.getvalue()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE evaluation_auditentry DISABLE TRIGGER evaluation_auditentry_frozen")
    assert hash_chain.disabled_triggers() == ["evaluation_auditentry_frozen"]


def test_an_export_can_be_checked_without_the_database(log: World, client: Client, tmp_path: Path) -> None:
    client.force_login(log.annotator)
    page = client.get(f"/p/{log.project.slug}/gates/audit/")
    assert page.status_code == 200
    answer: Any = client.get(f"/p/{log.project.slug}/gates/audit/export/?format=jsonl")
    sent = b"".join(answer.streaming_content).decode()
    call_command("export_audit", log.project.slug, output=tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8") == sent
    before = ""
    for number, line in enumerate(sent.splitlines(), start=1):
        row = json.loads(line)
        content = json.loads(row["content"])
        assert (row["position"], row["previous_sha256"]) == (number, before)
        assert hashlib.sha256(f"{before}\n{row['content']}".encode()).hexdigest() == row["sha256"]
        assert (content["action"], content["about"], content["details"]) == (
            row["action"],
            row["about"],
            row["details"],
        )
        before = row["sha256"]
    assert before == hash_chain.verify(log.project).head


@pytest.mark.parametrize("action", ["ask", "find_and_queue", "change_one"])
def test_the_project_is_locked_before_documents(world: World, action: str) -> None:
    """As freezes and schema changes lock them: in another order two of them can wait for each other forever."""
    document = failed(world)
    run, first = failing_run(world), document.external_id
    text = " ".join(word if number % 3 else f"other{number}" for number, word in enumerate(document.text.split()))
    like = Document.objects.create(project=world.project, external_id="like", text=text, sha256=sha256(text))
    with CaptureQueriesContext(connection) as queries:
        if action == "ask":
            doubted(run, first, world.engineer, reason="look")
        elif action == "find_and_queue":
            lookalikes.queue_lookalikes(
                run=run, part=lookalikes.OutputFilter(), count=1, people=[world.annotator], user=world.engineer
            )
        else:
            like.assigned_to = world.annotator
            like.save()
            bulk_edit.change_one(document=like, user=world.owner, action="assign", params={"user": ""})
    locks = [query["sql"] for query in queries if "FOR NO KEY UPDATE" in query["sql"]]
    assert 'FROM "labeling_project"' in locks[0]
    assert any('FROM "labeling_document"' in lock for lock in locks[1:])


@pytest.mark.django_db(transaction=True)
def test_entries_at_once_follow_each_other(tmp_path: Path) -> None:
    world = make_world(tmp_path / "base", documents=4, holdout=2)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for turn in range(10):
                audit_services.record(project=world.project, user=None, action="wrote", about=f"{number}.{turn}")
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    chain = hash_chain.verify(world.project)
    assert chain.problem == ""
    assert AuditEntry.objects.filter(action="wrote").count() == 60
