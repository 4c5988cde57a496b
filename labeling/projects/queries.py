"""Reads of the list of projects and of the contract page."""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from labeling.documents.list.counts import count_states, state_counts
from labeling.models import Membership, Project, SchemaMigration, SchemaVersion

MAX_MIGRATIONS = 10


def project_list(user: User, *, archived: bool = False) -> tuple[list[Any], bool]:
    """The memberships of a user with their projects, or with the archived ones; each with its numbers of documents and
    of labeled ones. And whether any is archived.
    """
    rows: list[Any] = list(Membership.objects.overview(user))
    memberships = [membership for membership in rows if membership.project.is_read_only == archived]
    count_states([membership.project for membership in memberships])
    for membership in memberships:
        counts = state_counts(membership.project)
        membership.documents, membership.labelled = counts.total, counts.labeled
    return memberships, any(membership.project.is_read_only for membership in rows)


def schema_versions(project: Project) -> QuerySet[SchemaVersion]:
    """The schema versions of a project with their authors, the newest first."""
    return project.schema_versions.select_related("created_by").order_by("-number")


def previous_schema_version(version: SchemaVersion) -> SchemaVersion | None:
    """The version before another one."""
    rows = SchemaVersion.objects.filter(project=version.project_id, number__lt=version.number)
    return rows.order_by("-number").first()


def recent_migrations(project: Project) -> QuerySet[SchemaMigration]:
    """The last label migrations and dry runs."""
    rows = project.migrations.select_related("from_version", "to_version", "created_by")
    return rows.order_by("-pk")[:MAX_MIGRATIONS]
