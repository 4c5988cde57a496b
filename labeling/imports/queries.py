"""Reads of the import pages."""

from collections.abc import Iterable

from labeling.imports.rows import MISFIT
from labeling.models import ImportRun, IndexRun, Project

MAX_RECENT = 10


def recent_imports(project: Project) -> Iterable[ImportRun]:
    """The last imports of a project, the newest first."""
    return ImportRun.objects.filter(project=project).select_related("created_by").order_by("-pk")[:MAX_RECENT]


def index_run_of(run: ImportRun) -> IndexRun | None:
    """The run that indexes the documents of an import, once it is queued."""
    return IndexRun.objects.filter(project=run.project_id, created_at__gte=run.created_at).order_by("pk").first()


def most_labels_misfit(run: ImportRun) -> bool:
    """Whether most rows of an import have a label that the schema rejects, by the rejected rows that it keeps."""
    shown = sum(row["reason"].startswith(MISFIT) for row in run.rejects)
    return bool(shown) and 2 * shown * run.rejected > len(run.rejects) * (run.imported + run.rejected)
