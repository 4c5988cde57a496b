"""Documents and what people wrote about them."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Left, Upper
from django.urls import reverse
from django.utils import timezone

from labeling.models.projects import Project, SchemaVersion
from slmstudio.fields import ExactJSONField
from slmstudio.runs import BackgroundRun


class DocumentState(models.TextChoices):
    """Where a document stands in the labeling work."""

    NEW = "new", "new"
    IN_PROGRESS = "in_progress", "in progress"
    SUBMITTED = "submitted", "submitted"
    APPROVED = "approved", "approved"
    REJECTED = "rejected", "rejected"
    SKIPPED = "skipped", "skipped"


class Origin(models.TextChoices):
    """Where gold comes from."""

    HUMAN = "human", "human"
    PRELABELLED = "prelabelled", "pre-labelled"
    IMPORTED = "imported", "imported"
    SYNTHETIC = "synthetic", "synthetic"


class DocumentQuerySet(models.QuerySet["Document"]):
    """Named reads of documents."""

    def counts_by_state(self) -> dict[str, int]:
        """How many documents are in each state that occurs."""
        rows = self.values_list("state").annotate(count=models.Count("pk")).order_by()
        return dict(rows)

    def labelled(self) -> Self:
        """Submitted or approved."""
        return self.filter(state__in=[DocumentState.SUBMITTED, DocumentState.APPROVED])

    def holding(self, text: str) -> Self:
        """Whose text or id contains these characters, whatever their case.

        Trigram indexes serve this from three characters on; fewer are looked for in ids alone.
        """
        in_id = models.Q(external_id__icontains=text)
        return self.filter(in_id | models.Q(text__icontains=text) if len(text) >= 3 else in_id)

    def chosen(self, *, q: str = "", state: str = "", tag: str = "", holdout: str = "") -> Self:
        """What a list's filters leave; an empty filter leaves everything. ``holdout`` is yes or no."""
        rows = self
        if state:
            rows = rows.filter(state=state)
        if tag:
            rows = rows.filter(tags__contains=[tag])
        if holdout:
            rows = rows.filter(holdout=holdout == "yes")
        return rows.holding(q) if q else rows

    def for_list(self) -> Self:
        """What a row of a list shows; of the text only its beginning, because texts are up to 1 MB long."""
        return self.only("external_id", "state", "tags", "holdout", "synthetic", "source", "created_at").annotate(
            beginning=Left("text", 240)
        )


class Document(models.Model):
    """One raw input: its text, where it came from, optional line boxes."""

    # No index of its own for a foreign key that leads another index: every index costs an import time.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="documents", db_index=False)
    external_id = models.CharField(max_length=200)
    text = models.TextField()
    sha256 = models.CharField(max_length=64, help_text="of the text; a document is the same if this is the same")
    source = models.CharField(max_length=200, blank=True)
    metadata = ExactJSONField(default=dict, blank=True)
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True, help_text="failure tags")
    state = models.CharField(max_length=12, choices=DocumentState.choices, default=DocumentState.NEW)
    holdout = models.BooleanField(default=False, help_text="kept for judging; fixed once a dataset version used it")
    synthetic = models.BooleanField(default=False)
    # Not indexed, so that taking and renewing a lock touches no index (the text's trigrams are the dear one).
    locked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    locked_until = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = DocumentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "sha256"], name="document_text_once"),
            models.UniqueConstraint(fields=["project", "external_id"], name="document_id_once"),
        ]
        indexes = [
            models.Index(fields=["project", "id"], name="document_list"),
            models.Index(fields=["project", "state", "id"], name="document_state"),
            models.Index(fields=["project", "id"], name="document_holdout", condition=models.Q(holdout=True)),
            GinIndex(OpClass(Upper("text"), "gin_trgm_ops"), name="document_text_trigrams"),
            GinIndex(OpClass(Upper("external_id"), "gin_trgm_ops"), name="document_id_trigrams"),
            GinIndex(fields=["tags"], name="document_tags"),
        ]

    def __str__(self) -> str:
        return self.external_id

    def get_absolute_url(self) -> str:
        """The document's page."""
        return reverse("document", args=[self.project.slug, self.pk])


class Annotation(models.Model):
    """One person's JSON for a document under a schema version. ``version`` grows by one with every save."""

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
    seconds = models.FloatField(default=0, help_text="seconds spent with the document open")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            # NULLs not distinct: an import writes one annotation without a person per document and schema.
            models.UniqueConstraint(
                fields=["document", "schema_version", "user"], name="annotation_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"annotation of document {self.document_id}, save {self.version}"


class AnnotationRevision(models.Model):
    """What an annotation was after one save. Rows are only ever added; the database refuses to change one."""

    class Action(models.TextChoices):
        """What the save was."""

        DRAFT = "draft", "draft saved"
        SUBMIT = "submit", "submitted"
        IMPORT = "import", "imported"
        APPROVE = "approve", "approved"

    annotation = models.ForeignKey(Annotation, on_delete=models.CASCADE, related_name="revisions", db_index=False)
    number = models.PositiveIntegerField()
    action = models.CharField(max_length=8, choices=Action.choices)
    value = ExactJSONField()
    evidence = models.JSONField(default=dict, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["annotation", "number"], name="revision_number_once")]

    def __str__(self) -> str:
        return f"revision {self.number} of annotation {self.annotation_id}"


class GoldQuerySet(models.QuerySet["Gold"]):
    """Named reads of gold."""

    def newest_of(self, project: Project) -> Self:
        """One per document of a project: that of the newest schema version it was labelled under."""
        newer = Gold.objects.filter(
            document=models.OuterRef("document"), schema_version__number__gt=models.OuterRef("schema_version__number")
        )
        return self.filter(~models.Exists(newer), document__project=project)

    def to_freeze(self, project: Project) -> Self:
        """The newest gold of every document that is not set aside."""
        return self.newest_of(project).exclude(document__state__in=[DocumentState.SKIPPED, DocumentState.REJECTED])


class Gold(models.Model):
    """The annotation that counts; at most one per document and schema version."""

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


class ImportRun(BackgroundRun):
    """One import of a file: rows in = imported + duplicate + rejected."""

    job_name = "labeling.jobs.run_import"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    file_name = models.CharField(max_length=200)
    upload_key = models.CharField(max_length=300)
    as_holdout = models.BooleanField(default=False)
    synthetic = models.BooleanField(default=False)
    imported = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    rejects_key = models.CharField(max_length=300, blank=True)
    rejects = models.JSONField(default=list, blank=True, help_text="the first hundred: {row, id, reason}")

    def __str__(self) -> str:
        return f"import of {self.file_name}"
