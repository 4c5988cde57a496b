"""Whether the database has all migrations of this version; servers do not start without them. ``migrate`` itself
refuses a database that cannot store every text.
"""

from typing import Any

from django.core.management.base import CommandError
from django.db import DatabaseError, connection, connections
from django.db.migrations.executor import MigrationExecutor

from slmstudio.storage.installation import PROGRAM

_NAMED = 3


class MigrationsMissing(CommandError):
    """The database lacks migrations, some of which the message names."""

    def __init__(self, names: list[str]) -> None:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        listed = ", ".join(names[:_NAMED]) + more
        super().__init__(f"The database has unapplied migrations: {listed}. Run `{PROGRAM} migrate` first.")


def unapplied() -> list[str]:
    """The migrations that the database lacks, as ``app.name``, in the order in which they apply.

    Migrations of a later version, which this one does not have, do not count: during an update both versions run.

    Raises:
        DatabaseError: the database does not respond.
    """
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [f"{migration.app_label}.{migration.name}" for migration, _ in plan]


def require_migrated() -> None:
    """Refuses a database that lacks migrations, for programs that serve or run until stopped. It leaves no connection
    open, so they can fork afterward.

    Without a database it passes: servers start before their database, and wait for it.

    Raises:
        MigrationsMissing: with the command to run.
    """
    try:
        names = unapplied()
    except DatabaseError:
        return
    finally:
        if not connection.in_atomic_block:
            connection.close()
    if names:
        raise MigrationsMissing(names)


def require_utf8(using: str = "default", **_: Any) -> None:
    """Refuses a database with another encoding than UTF-8, a receiver of ``pre_migrate``. With SQL_ASCII, PostgreSQL
    stores text, but rejects the first JSON with an escaped character, in the middle of a run.

    Raises:
        CommandError: with what to do.
    """
    with connections[using].cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        (encoding,) = cursor.fetchone()
    if encoding != "UTF8":
        name = connections[using].settings_dict["NAME"]
        raise CommandError(
            f"The database {name} has the encoding {encoding}; the studio needs UTF8. Create it anew: "
            f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"
        )
