"""The application role owns no tables, so it cannot disable the triggers of the audit log."""

import os
from typing import Any

import psycopg
import pytest
from psycopg import errors

from slmstudio.database.roles import check_role, grants, use_owner
from slmstudio.env import EnvError

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


def assert_forbidden(url: str) -> None:
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
    warnings: list[Any] = check_role()
    assert [warning.id for warning in warnings] == ["slmstudio.W001"], "the role of the tests owns its tables"
