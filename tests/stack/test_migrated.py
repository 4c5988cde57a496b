"""Servers refuse a database that lacks migrations, with the command to run."""

import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from slmstudio.database.migrated import MigrationsMissing, require_migrated, unapplied
from tests.conftest import ROOT, worker_environment
from tests.stack.test_serve import free_port

EMPTY = "test_without_migrations"
MANAGE = (sys.executable, "manage.py")


@pytest.fixture
def empty_database(transactional_db: None) -> Iterator[dict[str, str]]:
    """The environment of a program whose database has no table."""
    environment = worker_environment()
    url = environment["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {EMPTY}")
        server.execute(f"CREATE DATABASE {EMPTY} TEMPLATE template0")
        name = str(connection.settings_dict["NAME"])
        yield {**environment, "DATABASE_URL": url.replace(name, EMPTY), "DEBUG": "0"}
        server.execute(f"DROP DATABASE {EMPTY} WITH (FORCE)")


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-m", "slmstudio.server", "--workers", "2", "--bind"),
        (sys.executable, "-m", "serving.gateway", "--bind"),
        (*MANAGE, "rqworker", "default"),
        (*MANAGE, "periodic"),
        (*MANAGE, "serve"),
    ],
    ids=["web", "gateway", "worker", "periodic", "serve"],
)
def test_programs_refuse_an_empty_database(empty_database: dict[str, str], command: tuple[str, ...]) -> None:
    if command[-1] == "--bind":
        command = (*command, f"127.0.0.1:{free_port()}")
    ended = subprocess.run(
        command, cwd=ROOT, env=empty_database, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert ended.returncode == 1, ended.stdout
    assert "migrate` first" in ended.stdout
    assert "Traceback" not in ended.stdout


@pytest.mark.django_db
def test_the_missing_migrations_are_named() -> None:
    require_migrated()
    latest = MigrationLoader(connection).graph.leaf_nodes("evaluation")[0]
    MigrationRecorder(connection).record_unapplied(*latest)
    assert unapplied() == [".".join(latest)]
    with pytest.raises(MigrationsMissing) as refusal:
        require_migrated()
    assert ".".join(latest) in str(refusal.value)


@pytest.mark.django_db
def test_migrations_of_a_later_version_are_accepted() -> None:
    MigrationRecorder(connection).record_applied("evaluation", "9999_later")
    require_migrated()


def test_a_program_starts_before_its_database(transactional_db: None) -> None:
    before = connection.settings_dict["PORT"], connection.settings_dict["HOST"]
    connection.close()
    connection.settings_dict.update(PORT=str(free_port()), HOST="127.0.0.1")
    try:
        require_migrated()
    finally:
        connection.close()
        connection.settings_dict.update(PORT=before[0], HOST=before[1])


def test_migrate_refuses_another_encoding(empty_database: dict[str, str]) -> None:
    with psycopg.connect(worker_environment()["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"DROP DATABASE {EMPTY}")
        server.execute(f"CREATE DATABASE {EMPTY} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    command = (*MANAGE, "migrate")
    ended = subprocess.run(command, cwd=ROOT, env=empty_database, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1, ended.stderr
    assert "SQL_ASCII" in ended.stderr
    assert "Traceback" not in ended.stderr
    with psycopg.connect(empty_database["DATABASE_URL"]) as empty:
        assert empty.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
