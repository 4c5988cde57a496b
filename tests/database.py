"""The test database: a server without durability, and fast emptying after transactional tests."""

from typing import Any

import psycopg
from django.db import connection, transaction
from django.test import TransactionTestCase
from psycopg import sql

from slmstudio.stack.paths import DATABASE, Paths
from slmstudio.stack.postgres import SUPERUSER

# Nothing here outlives the session.
UNSAFE_AND_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}

MOST_PASSES = 20
_flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


def tune(places: Paths) -> None:
    """Settings of the embedded server for tests; its role may delete rows without a look at foreign keys."""
    address = places.database_url(user=SUPERUSER, database="postgres")
    with psycopg.connect(address, autocommit=True) as server:
        for name, value in UNSAFE_AND_FAST.items():
            server.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value))
        server.execute("SELECT pg_reload_conf()")
        role = sql.Identifier(DATABASE)
        server.execute(sql.SQL("GRANT SET ON PARAMETER session_replication_role TO {}").format(role))


class Emptying:
    """Empties the tables after a transactional test, as Django's flush does, but only those that have new rows.

    Django truncates every table, which costs a file for each table and index, and then makes content types and
    permissions again. ``kept`` has the rows that the migrations left; they stay. Where a test changed those, and on a
    server that was given, Django's flush does the work.
    """

    def __init__(self) -> None:
        managed = connection.introspection.django_table_names(only_existing=True, include_views=False)
        self.tables = [*managed, "serving_requestlog"]  # has partitions, which Django does not manage
        self.kept = self._marks(self._filled())

    def install(self) -> None:
        """From now on every transactional test ends with this."""
        TransactionTestCase._fixture_teardown = lambda case: self._teardown(case)  # type: ignore[attr-defined]

    def _teardown(self, case: Any) -> None:
        if self._marks(list(self.kept)) != self.kept:
            _flush(case)
            self.kept = self._marks(list(self.kept))
        # A request that is under way may commit rows to a table after its turn: they are deleted the next time. Rows
        # that refer to deleted ones cannot be committed afterwards.
        for _ in range(MOST_PASSES):
            filled = [table for table in self._filled() if table not in self.kept]
            if not filled:
                return
            with transaction.atomic():
                self._delete(filled)
        raise AssertionError(f"rows are added to {', '.join(filled)} again and again")

    def _filled(self) -> list[str]:
        """The tables that have a row."""
        ask = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(table, sql.Identifier(table))
            for table in self.tables
        )
        with connection.cursor() as cursor:
            cursor.execute(ask)
            return [name for (name,) in cursor.fetchall()]

    @staticmethod
    def _marks(tables: list[str]) -> dict[str, Any]:
        """What tells one content of these tables from another."""
        marks = {}
        with connection.cursor() as cursor:
            for table in tables:
                mark = sql.SQL("SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} t")
                cursor.execute(mark.format(sql.Identifier(table)))
                marks[table] = cursor.fetchone()
        return marks

    @staticmethod
    def _delete(tables: list[str]) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            for table in tables:
                cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
