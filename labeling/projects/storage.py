"""The storage of a project, for its quota."""

from collections.abc import Iterator
from posixpath import dirname

from django.db import connection

from labeling.models import DatasetVersion, ImportRun, Project


def file_keys(project: Project) -> Iterator[str]:
    """Keys of its files and folders in the artifact store: uploads, page images, dataset versions."""
    yield f"pages/{project.pk}"
    for key in ImportRun.objects.filter(project=project).values_list("upload_key", flat=True):
        yield dirname(key)
    for key in DatasetVersion.objects.filter(project=project).values_list("artifact_key", flat=True):
        yield dirname(key)


def text_bytes(project: Project) -> int:
    """The stored (compressed) bytes of its documents' texts."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(pg_column_size(text)), 0) FROM labeling_document WHERE project_id = %s", [project.pk]
        )
        return int(cursor.fetchone()[0])
