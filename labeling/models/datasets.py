"""Dataset versions: frozen, hashed snapshots of labels."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from labeling.models.annotations import AnnotationRevision
from labeling.models.documents import Document, Origin
from labeling.models.projects import Project, SchemaVersion
from slmstudio.access import Action
from slmstudio.runs.models import BackgroundRun


class Split(models.TextChoices):
    """The use of an example."""

    TRAIN = "train", "Train"
    VALIDATION = "validation", "Validation"
    HOLDOUT = "holdout", "Hold-out"


class DatasetVersionQuerySet(models.QuerySet["DatasetVersion"]):
    """Named queries of dataset versions."""

    def with_schema(self) -> Self:
        """With the schema version."""
        return self.select_related("schema_version")

    def for_page(self) -> Self:
        """With what pages and lists show: the schema version and the user who froze it; newest first."""
        return self.select_related("schema_version", "created_by").order_by("-number")

    def newest(self) -> "DatasetVersion | None":
        """The version with the highest number."""
        return self.order_by("-number").first()

    def numbers(self) -> list[int]:
        """The version numbers, newest first."""
        return list(self.order_by("-number").values_list("number", flat=True))


class DatasetVersion(models.Model):
    """An immutable snapshot: documents, revisions, schema, instruction, splits. ``sha256`` is that of its file.

    The database rejects changes of a row and of its items (see the first migration).

    The file (``artifact_key``) has one JSON row per item:
    ``{"id", "split", "text", "gold", "tags", "origin"}``, sorted by split and document; of a document that is not
    alone in its family also ``"family"``.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="datasets", db_index=False)
    number = models.PositiveIntegerField()
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="datasets")
    instruction = models.TextField()
    seed = models.PositiveIntegerField()
    rules = models.JSONField(
        default=dict, blank=True, help_text="labeling.datasets.freeze_rules.Rules and the shares of the splits"
    )
    sha256 = models.CharField(max_length=64)
    holdout_sha256 = models.CharField(max_length=64, help_text="of the hold-out rows")
    artifact_key = models.CharField(max_length=300)
    counts = models.JSONField(default=dict, help_text="see labeling.datasets.queries")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = DatasetVersionQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="dataset_number_once")]

    def __str__(self) -> str:
        return f"dataset v{self.number}"

    def get_absolute_url(self) -> str:
        """The version's page."""
        return reverse("dataset", args=[self.project.slug, self.number])


class DatasetItem(models.Model):
    """One document of a dataset version, with the revision that was gold then.

    ``family``: the key of the oldest document of its family in this version; null where it is alone
    (``labeling.datasets.families``).
    """

    dataset = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="items", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="dataset_items")
    revision = models.ForeignKey(AnnotationRevision, on_delete=models.PROTECT, related_name="+")
    split = models.CharField(max_length=10, choices=Split.choices)
    origin = models.CharField(max_length=12, choices=Origin.choices)
    family = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "document"], name="dataset_document_once")]
        indexes = [models.Index(fields=["dataset", "split"], name="dataset_split")]

    def __str__(self) -> str:
        return f"document {self.document_id} in {self.split}"


class SilverItem(models.Model):
    """A document with a silver label in a dataset version (``labeling.datasets.silver``): trained on, never tested on.

    The row stays as long as the version, so the document is never drawn into the hold-out.
    """

    dataset = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="silver_items", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="silver_items")
    model = models.CharField(max_length=200, help_text="the name of the model that labeled it")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "document"], name="silver_document_once")]

    def __str__(self) -> str:
        return f"silver label of document {self.document_id}"


class FreezeRun(BackgroundRun):
    """A background freeze of many documents. ``knobs``: the arguments of ``labeling.datasets.freeze.freeze``.

    ``unchanged``: nothing had changed, and ``dataset`` is the version that was there.
    """

    job_name = "labeling.jobs.run_freeze"
    required_action = Action.CURATE

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="freezes")
    knobs = models.JSONField(default=dict)
    dataset = models.ForeignKey(DatasetVersion, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    unchanged = models.BooleanField(default=False)

    def __str__(self) -> str:
        return "freeze"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("freeze_run", args=[self.project.slug, self.pk])
