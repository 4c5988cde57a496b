"""Annotations, gold labels and predictions."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.utils import timezone

from labeling.models.documents import Document, DocumentState, Origin
from labeling.models.projects import Project, SchemaVersion
from slmstudio.database.fields import ExactJSONField

#: states that dataset versions exclude
EXCLUDED_STATES = (DocumentState.SKIPPED, DocumentState.REJECTED)


class Annotation(models.Model):
    """One user's JSON for a document under a schema version. Every save increments ``version``."""

    # The document's project again, to count without a join.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="annotations", db_index=False)
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="annotations")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="annotations"
    )
    value = ExactJSONField(default=dict)
    evidence = models.JSONField(default=dict, blank=True, help_text="field path -> {start, end}")
    valid = models.BooleanField(default=False)
    submitted = models.BooleanField(default=False)
    origin = models.CharField(max_length=12, choices=Origin.choices, default=Origin.HUMAN)
    version = models.PositiveIntegerField(default=0)
    seconds = models.FloatField(default=0, help_text="seconds with the document open")
    field_seconds = models.JSONField(
        default=dict, blank=True, help_text="field pattern -> seconds with the focus there"
    )
    prediction = models.ForeignKey(
        "Prediction",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="annotations",
        help_text="the pre-label that the form was filled with",
    )
    changed_fields = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="at submit: leaves that differ from the newest prediction, shown or withheld"
    )
    predicted_fields = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="at submit: leaves of the prediction or the label"
    )
    submitted_at = models.DateTimeField(null=True, blank=True, help_text="time of the last submit")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            # NULLs not distinct: an import writes one annotation without a user per document and schema.
            models.UniqueConstraint(
                fields=["document", "schema_version", "user"], name="annotation_once", nulls_distinct=False
            )
        ]
        indexes = [
            # Submits by time, index-only; imports have no time.
            models.Index(
                fields=["project", "submitted_at"],
                name="annotation_work",
                include=["user", "seconds"],
                condition=models.Q(submitted_at__isnull=False),
            ),
            models.Index(
                fields=["project", "user", "document"],
                name="annotation_unfinished",
                condition=models.Q(submitted=False),
            ),
            # The sort order of the document list; without imported labels.
            models.Index(
                fields=["project", "updated_at", "document"],
                name="annotation_saved",
                condition=models.Q(user__isnull=False),
            ),
            models.Index(
                fields=["project", "seconds", "document"],
                name="annotation_time",
                condition=models.Q(user__isnull=False),
            ),
            models.Index(
                fields=["project"], name="annotation_compared", condition=models.Q(predicted_fields__isnull=False)
            ),
            GinIndex(fields=["value"], name="annotation_fields", opclasses=["jsonb_path_ops"]),
        ]

    def __str__(self) -> str:
        return f"annotation of document {self.document_id}, save {self.version}"


class AnnotationRevisionQuerySet(models.QuerySet["AnnotationRevision"]):
    """Named queries of revisions."""

    def of(self, document: Document) -> Self:
        """All revisions of a document with their users and schema versions."""
        return self.filter(annotation__document=document).select_related("user", "annotation__schema_version")

    def history(self, document: Document) -> Self:
        """All revisions of a document, newest first."""
        return self.of(document).order_by("-annotation__schema_version__number", "-number", "-id")


class AnnotationRevision(models.Model):
    """An annotation after one save. Rows are only added; the database rejects changes."""

    class Action(models.TextChoices):
        """The kind of save."""

        DRAFT = "draft", "Draft saved"
        SUBMIT = "submit", "Submitted"
        IMPORT = "import", "Imported"
        APPROVE = "approve", "Approved"
        ADJUDICATE = "adjudicate", "Adjudicated"
        RESTORE = "restore", "Restored"
        MIGRATE = "migrate", "Migrated to another schema"

    annotation = models.ForeignKey(Annotation, on_delete=models.CASCADE, related_name="revisions", db_index=False)
    number = models.PositiveIntegerField()
    action = models.CharField(max_length=12, choices=Action.choices)
    value = ExactJSONField()
    evidence = models.JSONField(default=dict, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = AnnotationRevisionQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["annotation", "number"], name="revision_number_once")]

    def __str__(self) -> str:
        return f"revision {self.number} of annotation {self.annotation_id}"


class GoldQuerySet(models.QuerySet["Gold"]):
    """Named queries of gold labels."""

    def current(self, project: Project) -> Self:
        """The gold labels of a project, one per document. Every count, export, freeze and page uses this.

        Gold is the approved or adjudicated annotation (where the project has review off, also the submitted one) that
        is valid under the newest schema version. Skipped and rejected documents have none. A row under the newest
        version exists only for a value that is valid there: adding a version copies the labels that are valid under it.
        """
        newest = SchemaVersion.objects.filter(project=project).order_by("-number").values("pk")[:1]
        rows = self.filter(document__project=project, schema_version=models.Subquery(newest))
        rows = rows.exclude(document__state__in=EXCLUDED_STATES)
        if project.review_required:
            approved = models.Q(approved_by__isnull=False) | models.Q(document__state=DocumentState.APPROVED)
            rows = rows.filter(approved)
        return rows

    def newest_of(self, project: Project) -> Self:
        """One per document, of the newest schema version it was gold under, even if it is no longer current.

        For label migrations; use ``current`` to read gold.
        """
        newer = Gold.objects.filter(
            document=models.OuterRef("document"), schema_version__number__gt=models.OuterRef("schema_version__number")
        )
        return self.filter(~models.Exists(newer), document__project=project)

    def outdated(self, project: Project) -> Self:
        """The newest gold of documents without gold under the newest schema version, where it is invalid."""
        newest = SchemaVersion.objects.filter(project=project).order_by("-number").values("pk")[:1]
        rows = self.newest_of(project).exclude(schema_version=models.Subquery(newest))
        return rows.exclude(document__state__in=EXCLUDED_STATES)


class Gold(models.Model):
    """The gold label: at most one per document and schema version."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="golds", db_index=False)
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="golds")
    revision = models.ForeignKey(AnnotationRevision, on_delete=models.PROTECT, related_name="+")
    origin = models.CharField(max_length=12, choices=Origin.choices)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = GoldQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "schema_version"], name="gold_once")]

    def __str__(self) -> str:
        return f"gold of document {self.document_id}"


class Prediction(models.Model):
    """A model's JSON for a document; never gold by itself. The newest of a document is its pre-label.

    ``confidence``: field path -> probability from 0 to 1, if the model returns any. ``withheld``: hidden from
    annotators at random, to measure automation bias. ``value``: None if the output is not JSON.
    """

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="predictions", db_index=False)
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="+")
    value = ExactJSONField(null=True)
    valid = models.BooleanField(default=False)
    confidence = models.JSONField(default=dict, blank=True)
    withheld = models.BooleanField(default=False)
    raw = models.TextField(blank=True, help_text="the output, if it is not JSON")
    model = models.CharField(max_length=200, help_text="the name of the model")
    source = models.CharField(max_length=200, help_text="the run that created it, for example prelabel-3")
    seconds = models.FloatField(default=0, help_text="latency of the model")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "source"], name="prediction_once")]
        indexes = [models.Index(fields=["document", "-id"], name="prediction_newest")]

    def __str__(self) -> str:
        return f"prediction of {self.model} for document {self.document_id}"
