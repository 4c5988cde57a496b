"""Studies: the runs of every kind that measure something about a project, and the places of its queue order."""

from typing import Any, ClassVar, Self

from django.db import models
from django.urls import reverse

from labeling.models.datasets import DatasetVersion
from labeling.models.documents import Document
from labeling.models.projects import Project
from slmstudio.runs.models import RetryableRun, RunQuerySet, Status


class StudyQuerySet(RunQuerySet["Study"]):
    """Named reads of studies."""

    def newest(self, kind: str = "") -> Self:
        """All, or those of one kind, newest first."""
        rows = self.select_related("dataset", "created_by").order_by("-pk")
        return rows.filter(kind=kind) if kind else rows

    def by_hand(self) -> Self:
        """Those that a member started; an order of the queue is also computed again by itself."""
        return self.exclude(created_by=None)

    def composed(self) -> Self:
        """Live ones that consist of other runs: they are running, without heartbeats of their own."""
        return self.filter(status=Status.RUNNING, heartbeat_at=None)


class Study(RetryableRun):
    """A search, a learning curve, a label check or an order of the queue: ``kind`` names the registered
    ``labeling.studies.kinds.StudyKind`` that gives its JSON a meaning.

    ``spec``: what was chosen; ``trials``: what is measured so far, one by one; ``result``: what it concluded, with
    ``summary`` as text.
    """

    job_name = "labeling.studies.services.run_study"
    queue_name = "gpu"
    gpu_rows: ClassVar[dict[str, Any]] = {"on_gpu": True}

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="studies")
    kind = models.CharField(max_length=20)
    number = models.PositiveIntegerField(help_text="counted by kind")
    name = models.CharField(max_length=120, blank=True)
    dataset = models.ForeignKey(DatasetVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="studies")
    on_gpu = models.BooleanField(default=False, help_text="its job runs on a worker of the queue gpu")
    spec: Any = models.JSONField(default=dict, blank=True)
    trials: Any = models.JSONField(default=list, blank=True)
    result: Any = models.JSONField(default=dict, blank=True)
    facts = models.JSONField(default=dict, blank=True)

    objects: ClassVar = StudyQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "kind", "number"], name="study_number_once")]

    def __str__(self) -> str:
        return self.name or f"{self.kind.replace('-', ' ')} {self.number}"

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("study", args=[self.project.slug, self.kind, self.number])

    def queue(self) -> str:
        """Only what generates text needs a GPU worker."""
        return "gpu" if self.on_gpu else "default"

    @property
    def is_composed(self) -> bool:
        """Whether it is live and consists of other runs."""
        return self.status == Status.RUNNING and self.heartbeat_at is None

    @property
    def can_resume(self) -> bool:
        """Whether it ended without a result."""
        return self.status in (Status.FAILED, Status.CANCELLED)

    @property
    def folder_key(self) -> str:
        """The folder of its files in the artifact store; of some from before studies, another one."""
        return str(self.facts.get("folder") or f"studies/{self.pk}")


class DocumentPlace(models.Model):
    """The place of a document in the queue, 1 first. ``open``: it waits for a label; a database trigger on the state of
    documents keeps it, so that labeled documents are not in the index of the queue.

    ``chosen``: placed by a signal and not at random. Chosen documents are targeted: they do not represent the project,
    so the hold-out is never drawn from them. ``signal``: from 0 to 1, what placed it.
    """

    run = models.ForeignKey(Study, on_delete=models.CASCADE, related_name="places", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="places")
    place = models.PositiveIntegerField()
    chosen = models.BooleanField()
    signal = models.FloatField()
    open = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "document"], name="place_document_once")]
        indexes = [models.Index(fields=["run", "place"], name="place_open", condition=models.Q(open=True))]

    def __str__(self) -> str:
        return f"place {self.place} of document {self.document_id}"
