"""Checks that the audit log is what was written: no gap, each entry's hash over the one before and its own content.

An entry's hash is the SHA-256 of ``previous_sha256``, a line feed and its content, JSON text that the function
``evaluation_audit_content`` of the database makes; an export has that text as it was hashed. Whoever owns the tables
can write a chain anew from some entry on: only a hash that was kept elsewhere, such as in an export, shows that.
"""

from dataclasses import dataclass

from django.db import connection

from labeling.models import Project

_BROKEN = """
    SELECT position, previous_sha256 IS DISTINCT FROM before, sha256 IS DISTINCT FROM hash, position <> place
    FROM (
        SELECT entry.position, entry.previous_sha256, entry.sha256, evaluation_audit_hash(entry) AS hash,
            lag(entry.sha256, 1, '') OVER chain AS before, row_number() OVER chain AS place
        FROM evaluation_auditentry entry WHERE entry.project_id = %s WINDOW chain AS (ORDER BY entry.position, entry.id)
    ) AS checked
    WHERE previous_sha256 IS DISTINCT FROM before OR sha256 IS DISTINCT FROM hash OR position <> place
    ORDER BY position LIMIT 1
"""
_GUARDS = ("evaluation_auditentry_frozen", "evaluation_auditentry_kept", "evaluation_auditentry_chain")


@dataclass(frozen=True)
class Chain:
    """A project's audit log: how many entries, the hash of the last one, and what is wrong, as a sentence ("")."""

    entries: int
    head: str
    problem: str = ""


def verify(project: Project, *, head: str = "") -> Chain:
    """Computes every hash of a project's log anew. ``head``: a hash that was kept; an entry must still have it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce((SELECT sha256 FROM evaluation_auditentry WHERE project_id = %s "
            "ORDER BY position DESC LIMIT 1), '') FROM evaluation_auditentry WHERE project_id = %s",
            [project.pk, project.pk],
        )
        entries, last = cursor.fetchone()
        cursor.execute(_BROKEN, [project.pk])
        broken = cursor.fetchone()
        kept = not head
        if head:
            cursor.execute(
                "SELECT 1 FROM evaluation_auditentry WHERE project_id = %s AND sha256 = %s", [project.pk, head]
            )
            kept = cursor.fetchone() is not None
    return Chain(entries, last, _sentence(broken, kept, head))


def _sentence(broken: tuple[int, bool, bool, bool] | None, kept: bool, head: str) -> str:
    if broken is not None:
        position, unlinked, changed, gap = broken
        if gap:
            return f"An entry before entry {position} is missing."
        if changed:
            return f"Entry {position} is not what was written: its hash is another one."
        if unlinked:
            return f"Entry {position} does not follow the entry before it."
    return "" if kept else f"No entry has the hash {head}: entries were taken away or written anew."


def guards_off() -> list[str]:
    """The triggers of the audit log that are not armed: names."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'evaluation_auditentry'::regclass AND tgenabled = 'O'"
        )
        armed = {str(name) for (name,) in cursor.fetchall()}
    return [name for name in _GUARDS if name not in armed]
