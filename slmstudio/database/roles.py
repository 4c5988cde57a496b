"""The address of the database, and its two roles: an owner for migrations, and the application's, which only reads and
writes rows.

The owner of a table can disable its triggers, and with them the protection of the audit log, so the application owns
nothing. ``DATABASE_OWNER_URL`` is the owner's address of the same database; the commands of ``OWNER_COMMANDS`` use it,
and after each migration the application's role is granted what it needs. If it is not set, one role does everything,
and ``manage.py check --deploy`` warns.
"""

import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as Caution
from django.db import DatabaseError, connections, transaction

from slmstudio.env import EnvError

OWNER_COMMANDS = frozenset({"migrate", "flush", "createcachetable", "backup", "restore"})
#: append-only tables
_APPEND_ONLY = ("evaluation_auditentry", "slmstudio_signinevent")
#: tables whose statistics the application updates after many writes
_ANALYZED = ("labeling_document", "labeling_documentsearch")
_ROLE = "DATABASE_APPLICATION_ROLE"


def database_settings(url: str) -> dict[str, Any]:
    """``postgresql://user:password@host:port/name?host=/socket/dir`` as a Django database entry.

    A ``host`` in the query names a directory of UNIX sockets and overrides the host of the address. Other query
    parameters are passed to libpq unchanged.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or parts.hostname or ""
    port = options.pop("port", None) or parts.port or ""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "slmstudio",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(host),
        "PORT": str(port),
        "OPTIONS": options,
        # One per thread. No psycopg pool: RQ forks for every job, and a pool's threads do not survive a fork.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


def use_owner(arguments: Sequence[str]) -> None:
    """Makes a command of ``OWNER_COMMANDS`` use the owner's address, if there is one; removes it for other commands.
    Called before settings load.

    Raises:
        EnvError: the owner's address is that of another database, or names the same role.
    """
    owner, own = os.environ.pop("DATABASE_OWNER_URL", "").strip(), os.environ.get("DATABASE_URL", "").strip()
    if not owner or not own or not arguments or arguments[0] not in OWNER_COMMANDS:
        return
    places = [_place(url) for url in (owner, own)]
    roles = [unquote(urlsplit(url).username or "") for url in (owner, own)]
    if places[0] != places[1] or roles[0] == roles[1]:
        raise EnvError("DATABASE_OWNER_URL", "the address of the database of DATABASE_URL, with another role", owner)
    os.environ["DATABASE_URL"] = owner
    os.environ[_ROLE] = roles[1]


def _place(url: str) -> tuple[str, ...]:
    settings = database_settings(url)
    return tuple(str(settings[name]) for name in ("HOST", "PORT", "NAME"))


def grant_to_application(using: str = "default", **_: Any) -> None:
    """Grants the application's role what it needs, a receiver of ``post_migrate``; does nothing if the command uses no
    owner.
    """
    role = os.environ.get(_ROLE, "")
    if not role:
        return
    connection: Any = connections[using]  # its stubs do not know PostgreSQL
    with transaction.atomic(using=using), connection.cursor() as cursor:
        tables = set(connection.introspection.table_names(cursor))
        for statement in grants(connection.ops.quote_name(role), tables, version=connection.pg_version):
            cursor.execute(statement)


def grants(role: str, tables: set[str], *, version: int) -> list[str]:
    """The statements that grant a role (quoted) what the application needs of these tables, and revoke the rest."""
    statements = [
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"REVOKE TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA public FROM {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    ]
    for table in _APPEND_ONLY:
        if table in tables:
            statements.append(f"REVOKE UPDATE, DELETE ON {table} FROM {role}")
    if version >= 170_000:
        statements += [f"GRANT MAINTAIN ON {table} TO {role}" for table in _ANALYZED if table in tables]
    return statements


@register(Tags.security, deploy=True)
def check_role(**_: Any) -> list[CheckMessage]:
    """Warns if the application's role can disable the protection of the audit log."""
    try:
        with connections["default"].cursor() as cursor:
            cursor.execute(
                "SELECT rolsuper OR pg_has_role(current_user, relowner, 'USAGE') FROM pg_roles, pg_class "
                "WHERE rolname = current_user AND pg_class.oid = to_regclass('public.evaluation_auditentry')"
            )
            row = cursor.fetchone()
    except DatabaseError:
        return []  # there is no database to query
    if row is None or not row[0]:
        return []
    return [
        Caution(
            "The database role of the application owns its tables, so it can disable the protection of the audit log.",
            hint="Transfer the tables to another role and set DATABASE_OWNER_URL; docs/production.md has the SQL.",
            id="slmstudio.W001",
        )
    ]
