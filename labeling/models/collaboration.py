"""What users do with documents besides labeling: reviews, comments, presence, saved views and preferences."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from labeling.models.annotations import Annotation, AnnotationRevision
from labeling.models.documents import Document
from labeling.models.projects import Project


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
