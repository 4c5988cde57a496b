"""Verifies the audit log: no gaps, and the hash of each entry over the previous hash and its own content.

The hash of an entry is the SHA-256 of ``previous_sha256``, a line feed and its content, which is the JSON text of the
database function ``evaluation_audit_content``; exports contain it. The owner of the tables can rewrite the chain from
some entry on: only a hash that is stored outside the database, such as in an export, reveals that.
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
class ChainCheck:
    """A verified audit log: the number of entries, the last hash, and the problem as a sentence; "" without one."""

    entries: int
    head: str
    problem: str = ""


def verify(project: Project, *, head: str = "") -> ChainCheck:
    """Recomputes every hash of a project's log. ``head``: a stored hash that an entry must still have."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), coalesce((SELECT sha256 FROM evaluation_auditentry WHERE project_id = %s "
            "ORDER BY position DESC LIMIT 1), '') FROM evaluation_auditentry WHERE project_id = %s",
            [project.pk, project.pk],
        )
        entries, last = cursor.fetchone()
        cursor.execute(_BROKEN, [project.pk])
        broken = cursor.fetchone()
        has_head = not head
        if head:
            cursor.execute(
                "SELECT 1 FROM evaluation_auditentry WHERE project_id = %s AND sha256 = %s", [project.pk, head]
            )
            has_head = cursor.fetchone() is not None
    return ChainCheck(entries, last, _problem(broken, has_head, head))


def _problem(broken: tuple[int, bool, bool, bool] | None, has_head: bool, head: str) -> str:
    if broken is not None:
        position, unlinked, changed, gap = broken
        if gap:
            return f"An entry before entry {position} is missing."
        if changed:
            return f"Entry {position} was changed: its hash differs."
        if unlinked:
            return f"Entry {position} does not follow the entry before it."
    return "" if has_head else f"No entry has the hash {head}: entries were removed or rewritten."


def disabled_triggers() -> list[str]:
    """Names of the triggers of the audit log that are not enabled."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'evaluation_auditentry'::regclass AND tgenabled = 'O'"
        )
        enabled = {str(name) for (name,) in cursor.fetchall()}
    return [name for name in _GUARDS if name not in enabled]


def backup_facts() -> dict[str, str]:
    """The head of each project's log."""
    chains = {project.slug: verify(project) for project in Project.objects.all()}
    return {f"audit log of {slug}": f"{chain.entries} {chain.head}" for slug, chain in chains.items()}
