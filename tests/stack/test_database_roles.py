"""The application role owns no tables, so it cannot disable the triggers of the audit log."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from slmstudio import stack
from slmstudio.database.roles import check_role, grants, use_owner
from slmstudio.env import EnvError
from slmstudio.stack.paths import Paths

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = """
from evaluation.audit import services as audit_services
from labeling.models import Project
project = Project.objects.create(slug="a", name="A")
audit_services.record(project=project, user=None, action="approved", about="gate report 1")
Project.objects.update(name="B")
Project.objects.create(slug="c", name="C").delete()
"""
FORBIDDEN = [
    "UPDATE evaluation_auditentry SET action = 'x'",
    "DELETE FROM evaluation_auditentry",
    "TRUNCATE evaluation_auditentry",
    "TRUNCATE labeling_project CASCADE",
    "ALTER TABLE evaluation_auditentry DISABLE TRIGGER evaluation_auditentry_frozen",
    "DROP TRIGGER evaluation_auditentry_frozen ON evaluation_auditentry",
    "ALTER TABLE labeling_schemaversion DISABLE TRIGGER USER",
    "CREATE OR REPLACE FUNCTION evaluation_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "DROP TABLE evaluation_auditentry",
    "CREATE TABLE mine (a int)",
    "CREATE TEMPORARY TABLE evaluation_auditentry (a int)",
    "SET session_replication_role = replica",
    "SET ROLE slmstudio_owner",
]


def manage(places: Paths, *arguments: str) -> None:
    """``manage.py`` with both addresses set."""
    variables = {
        **os.environ,
        "SLM_HOME": str(places.home),
        "DATABASE_URL": places.database_url(),
        "DATABASE_OWNER_URL": places.database_owner_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_application_role_owns_no_tables(home: Path) -> None:
    running = stack.start(home, ["postgres"])
    try:
        places = running.places
        manage(places, "migrate", "--verbosity=0")
        manage(places, "shell", "-c", WORK)
        manage(places, "verify_audit")
        refused(running.database_url)
        with psycopg.connect(running.database_url) as connection:
            assert connection.execute("SELECT name FROM labeling_project").fetchall() == [("B",)]
            assert connection.execute("SELECT count(*) FROM evaluation_auditentry").fetchone() == (1,)
    finally:
        stack.stop(running)


def refused(url: str) -> None:
    """The application's role may do none of what would empty the log or disarm it."""
    for statement in FORBIDDEN:
        with psycopg.connect(url) as connection, pytest.raises(errors.InsufficientPrivilege):
            connection.execute(statement)


@pytest.mark.parametrize(
    ("owner", "taken"),
    [
        ("postgresql://owner@db/studio", True),
        ("postgresql://owner:secret@db/studio?sslmode=require", True),
        ("postgresql://owner@db/other", False),
        ("postgresql://owner@elsewhere/studio", False),
        ("postgresql://owner@db:6000/studio", False),
        ("postgresql://studio@db/studio", False),
        ("postgresql://stud%69o:secret@db/studio", False),
    ],
)
def test_the_owner_url_names_the_same_database(monkeypatch: pytest.MonkeyPatch, owner: str, taken: bool) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://studio@db/studio")
    monkeypatch.setenv("DATABASE_OWNER_URL", owner)
    monkeypatch.setenv("DATABASE_APPLICATION_ROLE", "")
    if taken:
        use_owner(["migrate"])
        assert os.environ["DATABASE_URL"] == owner
        assert os.environ["DATABASE_APPLICATION_ROLE"] == "studio"
    else:
        with pytest.raises(EnvError) as error:
            use_owner(["migrate"])
        assert error.value.name == "DATABASE_OWNER_URL"
        assert "secret" not in str(error.value)


@pytest.mark.parametrize("command", ["runserver", "rqworker", "shell", "run_loop"])
def test_other_commands_do_not_use_the_owner(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://studio@db/studio")
    monkeypatch.setenv("DATABASE_OWNER_URL", "postgresql://owner@db/studio")
    use_owner([command])
    assert os.environ["DATABASE_URL"] == "postgresql://studio@db/studio"
    assert "DATABASE_OWNER_URL" not in os.environ


def test_older_servers_get_no_unknown_settings() -> None:
    tables = {"evaluation_auditentry", "labeling_document"}
    assert not any("MAINTAIN" in grant for grant in grants("app", tables, version=160_000))
    assert any("MAINTAIN" in grant for grant in grants("app", tables, version=170_000))


def test_a_single_role_is_a_warning(db: None) -> None:
    found: list[Any] = check_role()
    assert [warning.id for warning in found] == ["slmstudio.W001"], "the role of the tests owns its tables"
