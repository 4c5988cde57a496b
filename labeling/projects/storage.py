"""The storage of projects: for quotas, and what a backup must keep."""

from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname

from django.db import connection
from django.db.models import TextField
from django.db.models.functions import MD5, Cast

from labeling.models import DatasetVersion, Gold, ImportRun, Project
from slmstudio.contract.json_text import dumps, sha256
from slmstudio.stack.backup import MISSING
from slmstudio.storage.artifacts import store
from slmstudio.storage.hashing import sha256_file


def file_keys(project: Project) -> Iterator[str]:
    """Keys of its files and folders in the artifact store: uploads, page images, dataset versions."""
    yield f"pages/{project.pk}"
    for upload, rejects in ImportRun.objects.filter(project=project).values_list("upload_key", "rejects_key"):
        yield dirname(upload)
        yield dirname(rejects)
    for key in DatasetVersion.objects.filter(project=project).values_list("artifact_key", flat=True):
        yield dirname(key)


def text_bytes(project: Project) -> int:
    """The stored (compressed) bytes of its documents' texts."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(pg_column_size(text)), 0) FROM labeling_document WHERE project_id = %s", [project.pk]
        )
        return int(cursor.fetchone()[0])


def backup_facts() -> dict[str, str]:
    """Of each project the number of gold labels and a hash of a hundred of them; the hash of each dataset's file."""
    facts = {}
    for dataset in DatasetVersion.objects.select_related("project"):
        path = Path(store().path(dataset.artifact_key))
        facts[f"dataset {dataset.project.slug}/{dataset.number}"] = sha256_file(path) if path.is_file() else MISSING
    for project in Project.objects.all():
        gold = Gold.objects.filter(document__project=project)
        some = gold.order_by(MD5(Cast("document_id", TextField()))).values_list("document_id", "revision__value")[:100]
        digest = sha256(dumps([[pk, value] for pk, value in some]))
        facts[f"labels of {project.slug}"] = f"{gold.count()} {digest}"
    return facts
