"""An existing database is migrated: its rows stay, and its schema becomes that of a new database.

``tests/fixtures`` has a database of the last version before the migrations were replaced by one for each app, with a
row in every table. A database without rows goes the same way: every new database is made by the same migrations.
"""

import gzip
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from psycopg import sql

from serving.comparisons.certificate import content_hash
from serving.models import Rollout, TrafficComparison
from serving.rollouts.counts import Step
from slmstudio.stack.postgres import PROGRAMS

DUMP = Path(__file__).resolve().parent.parent / "fixtures" / "database_filled.sql.gz"
NAME = "test_upgrade"
#: tables whose rows a later migration moves to other tables (none: it deletes them on purpose)
MOVED: dict[str, tuple[str, ...]] = {
    "evaluation_goldquestion": ("evaluation_labelchallenge",),
    "evaluation_labelcheckrun": ("labeling_study",),
    "evaluation_learningcurve": ("labeling_study",),
    "evaluation_learningpoint": (),  # into the trials of a study
    "evaluation_looprun": ("evaluation_pipelinerun",),
    "evaluation_promptsearch": ("evaluation_optimizedprompt", "labeling_study"),
    "labeling_queueorderrun": ("labeling_study",),
    "training_modelpull": ("training_modeldownload",),
    "training_search": ("labeling_study",),
    "training_trial": (),  # into the trials of a study
    "serving_certificate": ("serving_trafficcomparison",),
    "serving_certificatepair": ("serving_comparisonpair",),
    "serving_experiment": ("serving_trafficcomparison",),
    "serving_replay": ("serving_trafficcomparison",),
}
OURS = {"slmstudio", "labeling", "training", "evaluation", "serving"}
#: tables that Django fills
ITS_OWN = {"auth_permission", "django_content_type", "django_migrations"}
CAST = re.compile(r"::(text|character varying)|[()\[\]]")
SCHEMA = """
SELECT 'column', table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL, NULL
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL SELECT 'index', tablename, indexname, indexdef, NULL, NULL, NULL FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, pg_get_triggerdef(oid), NULL, NULL, NULL
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', '', proname, pg_get_functiondef(oid), NULL, NULL, NULL FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
    AND prolang IN (SELECT oid FROM pg_language WHERE lanname IN ('sql', 'plpgsql'))
UNION ALL SELECT 'statistics', stxrelid::regclass::text, stxname, NULL, NULL, NULL, NULL FROM pg_statistic_ext
"""


@pytest.fixture
def older(django_db_setup: None, django_db_blocker: Any) -> Iterator[set[tuple[Any, ...]]]:
    """During the test, Django uses a database of the earlier version. Returns the schema of a new database."""
    name = connection.settings_dict["NAME"]
    with django_db_blocker.unblock():
        new_schema = schema()
        execute(f"DROP DATABASE IF EXISTS {NAME}")
        execute(f"CREATE DATABASE {NAME}")
        try:
            use(NAME)
            restore(DUMP)
            yield new_schema
        finally:
            use(name)
            execute(f"DROP DATABASE {NAME}")


def test_an_older_database_is_migrated(older: set[tuple[Any, ...]]) -> None:
    before = row_counts()
    call_command("migrate", verbosity=0)
    executor = MigrationExecutor(connection)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
    expected: Counter[str] = Counter()
    for table, count in before.items():
        for target in MOVED.get(table, (table,)):
            expected[target] += count
    after = row_counts()
    assert {table: after.get(table) for table in expected} == expected
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_label in OURS:
            list(model._base_manager.all())
    assert schema() == older
    for comparison in TrafficComparison.objects.exclude(sha256=""):
        assert content_hash(comparison.content) == comparison.sha256
    assert all(Step.from_json(step) for rollout in Rollout.objects.all() for step in rollout.steps)


def test_each_change_of_a_model_has_a_migration(db: None) -> None:
    call_command("makemigrations", check_changes=True, dry_run=True, verbosity=0)


def execute(statement: str) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def use(name: str) -> None:
    """Makes Django use this database of the server."""
    connection.close()
    connection.settings_dict["NAME"] = name


def restore(dump: Path) -> None:
    """Loads a dump into the database that is used."""
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    values = {name: str(connection.settings_dict[setting]) for name, setting in names.items()}
    subprocess.run(
        [PROGRAMS / "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output", os.devnull],
        input=gzip.decompress(dump.read_bytes()),
        env={**os.environ, **{name: value for name, value in values.items() if value}},
        check=True,
    )


def row_counts() -> dict[str, int]:
    """The number of rows of each table, with those of its partitions; without the tables that Django fills."""
    tables = execute(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = 'public'::regnamespace"
    )
    counts = {}
    for (table,) in tables:
        if table not in ITS_OWN:
            statement = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            counts[table] = execute(statement.as_string(None))[0][0]
    return counts


def schema() -> set[tuple[Any, ...]]:
    """Columns, constraints, indexes, triggers, functions and statistics, without those of partitions. Without casts and
    brackets, as PostgreSQL adds some when it loads a dump."""
    partitions = {name for (name,) in execute("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")}
    rows = [row for row in execute(SCHEMA) if row[1] not in partitions]
    return {(*row[:3], CAST.sub("", str(row[3])), *row[4:]) for row in rows}
