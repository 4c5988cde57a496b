"""Reviews, presence, comments, saved views, preferences, bulk edits and label migrations."""

from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from labeling.models.annotations import Annotation, AnnotationRevision
from labeling.models.documents import Document
from labeling.models.projects import Project, SchemaVersion
from slmstudio import access
from slmstudio.runs.models import BackgroundRun, Status


class Review(models.Model):
    """A reviewer's decision on a label; the newest of a document is current."""

    class Decision(models.TextChoices):
        """The decision."""

        APPROVE = "approve", "Approved"
        FIX = "fix", "Fixed and approved"
        REJECT = "reject", "Rejected"
        ADJUDICATE = "adjudicate", "Adjudicated"

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="reviews", db_index=False)
    annotation = models.ForeignKey(Annotation, on_delete=models.CASCADE, related_name="reviews")
    revision = models.ForeignKey(AnnotationRevision, on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=10, choices=Decision.choices)
    reason = models.CharField(max_length=1000, blank=True, help_text="reason of a rejection; shown to the annotator")
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    replaced_gold = models.JSONField(
        null=True, help_text="to undo an approval: the gold label before it, {} for none; null: it cannot be undone"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [
            models.Index(fields=["document", "-id"], name="review_newest"),
            models.Index(fields=["reviewer", "created_at"], name="review_by_time"),
        ]

    def __str__(self) -> str:
        return f"document {self.document_id} {self.decision}"


class Presence(models.Model):
    """The document that a user's tab shows; expires (``labeling.annotation.presence``)."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    tab = models.CharField(max_length=64, blank=True)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "tab"], name="presence_tab_once")]

    def __str__(self) -> str:
        return f"user {self.user_id} on document {self.document_id}"


class Comment(models.Model):
    """A comment on a document, or on one of its fields (``path``)."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="comments", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    path = models.CharField(max_length=300, blank=True)
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        indexes = [models.Index(fields=["document", "id"], name="comment_document")]

    def __str__(self) -> str:
        return f"comment on document {self.document_id}"


class Mention(models.Model):
    """A member mentioned in a comment, and whether they have read it."""

    comment = models.ForeignKey(Comment, on_delete=models.CASCADE, related_name="mentions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="mentions")
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["comment", "user"], name="mention_once")]

    def __str__(self) -> str:
        return f"mention of {self.user_id}"


class SavedView(models.Model):
    """Named filters of the document list. ``query``: the query string of the URL."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="views")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000, blank=True)
    shared = models.BooleanField(default=False, help_text="all members see it")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user", "name"], name="view_name_once")]

    def __str__(self) -> str:
        return self.name


class Preferences(models.Model):
    """A user's preferences. ``keys``: action of the labeling screen -> own chord."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="preferences")
    keys = models.JSONField(default=dict, blank=True)
    exceptions_only = models.BooleanField(
        default=True, help_text="in a pre-filled form, Tab visits only fields that need attention"
    )

    def __str__(self) -> str:
        return f"preferences of {self.user_id}"


class BulkEdit(BackgroundRun):
    """One change of all documents that match a filter. ``params``: the arguments of the action."""

    class Action(models.TextChoices):
        """The kind of change."""

        ASSIGN = "assign", "Assign"
        TAG = "tag", "Add tags"
        UNTAG = "untag", "Remove tags"
        HOLDOUT = "holdout", "Move to hold-out"
        TRAIN = "train", "Remove from hold-out"
        REQUEUE = "requeue", "Return to queue"
        OVERLAP = "overlap", "Set overlap"
        UNDO = "undo", "Undo"

    job_name = "labeling.jobs.run_bulk_edit"
    required_action = access.Action.CURATE

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="bulk_edits")
    action = models.CharField(max_length=10, choices=Action.choices)
    filters = models.JSONField(default=dict)
    params = models.JSONField(default=dict, blank=True)
    changed = models.PositiveIntegerField(default=0)
    left_alone = models.PositiveIntegerField(default=0, help_text="documents that cannot be changed this way")

    def __str__(self) -> str:
        return f"{self.get_action_display()} in bulk"

    def get_absolute_url(self) -> str:
        """The page of the bulk edit."""
        return reverse("bulk_edit", args=[self.project.slug, self.pk])


class SchemaMigration(BackgroundRun):
    """Migrates the labels of a project to another schema, or only counts the effect (``dry_run``).

    ``mapping`` is a list of steps (see ``labeling.schema_migration.mapping``); ``result`` holds counts and examples.
    """

    job_name = "labeling.jobs.run_schema_migration"
    required_action = access.Action.CONTRACT

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="migrations")
    from_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(SchemaVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    schema_text = models.TextField()
    source_text = models.TextField(
        blank=True, default="", help_text="the schema as it was pasted; empty if it was not translated"
    )
    mapping = models.JSONField(default=list, blank=True)
    dry_run = models.BooleanField(default=True)
    result = models.JSONField(default=dict, blank=True)

    def __str__(self) -> str:
        return "schema migration"

    def get_absolute_url(self) -> str:
        """The page of the migration."""
        return reverse("schema_migration", args=[self.project.slug, self.pk])

    @classmethod
    def unfinished(cls, project: Project) -> "SchemaMigration | None":
        """The incomplete migration to a project's newest schema version: queued, running, failed or cancelled. Until it
        is done, gold labels are missing.
        """
        newest = SchemaVersion.objects.filter(project=project).order_by("-number").values("pk")[:1]
        runs: Any = cls.objects.filter(project=project, dry_run=False, to_version=models.Subquery(newest))
        run: SchemaMigration | None = runs.order_by("-pk").first()
        return None if run is None or run.status == Status.DONE else run
