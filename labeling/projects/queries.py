"""Reads of the contract page."""

from django.db.models import QuerySet

from labeling.models import Project, SchemaMigration, SchemaVersion

MAX_MIGRATIONS = 10


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
