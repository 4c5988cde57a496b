"""Imports of files, and the search index of their documents."""

from django.db import models
from django.urls import reverse

from labeling.models.projects import Project
from slmstudio.access import Action
from slmstudio.runs.models import BackgroundRun


class ImportRun(BackgroundRun):
    """The import of a file: rows = imported + duplicates + rejected.

    ``kind`` is the name of its format (``labeling.imports.formats.registry``), ``options``: the options of the format.
    """

    job_name = "labeling.jobs.run_import"
    required_action = Action.CURATE
    queue_name = "imports"
    job_timeout = -1  # scans take hours; each page has a limit of its own
    attempts_allowed = 3

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    file_name = models.CharField(max_length=200)
    upload_key = models.CharField(max_length=300)
    kind = models.CharField(max_length=20, default="jsonl")
    options = models.JSONField(default=dict, blank=True)
    encoding = models.CharField(
        max_length=120, blank=True, help_text="text encoding, detected or chosen; several are separated by commas"
    )
    as_holdout = models.BooleanField(default=False)
    synthetic = models.BooleanField(default=False)
    imported = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="how often a worker has claimed it")
    rejects_key = models.CharField(max_length=300, blank=True)
    rejects = models.JSONField(default=list, blank=True, help_text="the first 100: {row, id, reason}")

    def __str__(self) -> str:
        return f"import of {self.file_name}"

    def get_absolute_url(self) -> str:
        """The page of the import."""
        return reverse("import_run", args=[self.project.slug, self.pk])

    @property
    def attempts_since_restart(self) -> int:
        """All of them: *Restart import* creates another run."""
        return self.attempts


class IndexRun(BackgroundRun):
    """Indexes imported documents for the text search (``DocumentSearch``), in the order of ids.

    Each run continues where the last one stopped, so an interrupted run needs only a new one.
    """

    job_name = "labeling.jobs.run_indexing"
    job_timeout = -1

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="index_runs")
    indexed = models.PositiveIntegerField(default=0, help_text="documents that this run indexed")

    def __str__(self) -> str:
        return "search index"
