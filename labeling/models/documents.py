"""Documents, their pages, search index, scores and bulk edits."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models.functions import Left
from django.urls import reverse
from django.utils import timezone

from labeling.models.projects import Project
from slmstudio import access
from slmstudio.database.fields import ExactJSONField
from slmstudio.runs.models import BackgroundRun
from slmstudio.text.formatting import percent


class DocumentState(models.TextChoices):
    """The state of a document; ``labeling.annotation.state`` has the transitions."""

    NEW = "new", "New"
    IN_PROGRESS = "in_progress", "In progress"
    SUBMITTED = "submitted", "Submitted"
    APPROVED = "approved", "Approved"
    REJECTED = "rejected", "Rejected"
    SKIPPED = "skipped", "Skipped"


#: states in which a document is in the queue
QUEUE = (DocumentState.NEW, DocumentState.IN_PROGRESS, DocumentState.REJECTED)
#: states in which all requested labels are submitted
LABELED_STATES = (DocumentState.SUBMITTED, DocumentState.APPROVED)


class Origin(models.TextChoices):
    """The origin of a label."""

    HUMAN = "human", "Human"
    PRELABELLED = "prelabelled", "Pre-labeled"
    IMPORTED = "imported", "Imported"
    SYNTHETIC = "synthetic", "Synthetic"


class Selection(models.TextChoices):
    """How a document came out of the requests to a deployed model."""

    NONE = "", "Not from requests"
    UNIFORM = "uniform", "Uniform sample of requests"
    TARGETED = "targeted", "Request chosen for review"


class DocumentQuerySet(models.QuerySet["Document"]):
    """Named queries of documents."""

    def counts_by_state(self) -> dict[str, int]:
        """Number of documents per state."""
        rows = self.values_list("state").annotate(count=models.Count("pk")).order_by()
        return dict(rows)

    def labeled(self) -> Self:
        """Submitted or approved."""
        return self.filter(state__in=LABELED_STATES)

    def unlabeled(self, project: Project) -> Self:
        """New documents without an annotation."""
        return self.filter(project=project, state=DocumentState.NEW, annotations__isnull=True)

    def without_text(self) -> Self:
        """Without the text, which can have 1 MB."""
        return self.defer("text")

    def only_key(self) -> Self:
        """Only the key and the project, for services that lock and read the row themselves."""
        return self.only("pk", "project")

    def with_assignee(self) -> Self:
        """With the user that the document is assigned to."""
        return self.select_related("assigned_to")

    def progress(self) -> dict[str, int]:
        """The number of hold-out documents and of disputed ones."""
        holdout, disputed = models.Q(holdout=True), models.Q(disputed=True)
        return self.aggregate(holdout=models.Count("pk", filter=holdout), disputed=models.Count("pk", filter=disputed))

    def with_id(self, project: Project, external_id: str) -> "Document | None":
        """The document with exactly this id, by index."""
        return self.filter(project=project, external_id=external_id).only("external_id", "project").first()

    def existing_texts(self, project: Project, hashes: Iterable[str]) -> set[str]:
        """Those of these text hashes that the project has."""
        return set(self.filter(project=project, sha256__in=hashes).values_list("sha256", flat=True))

    def for_list(self) -> Self:
        """The columns of a list row; only the beginning of the text, which can have 1 MB."""
        shown = (
            "external_id",
            "state",
            "returned",
            "tags",
            "holdout",
            "synthetic",
            "source",
            "created_at",
            "overlap",
            "disputed",
        )
        return (
            self.select_related("assigned_to")
            .only(*shown, "assigned_to__username")
            .annotate(beginning=Left("text", 240))
        )


class Document(models.Model):
    """One raw input: its text, source, metadata and optional pages."""

    # No index of its own for a foreign key that leads another index: every index costs an import time.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="documents", db_index=False)
    external_id = models.CharField(max_length=200)
    text = models.TextField()
    sha256 = models.CharField(max_length=64, help_text="of the text; unique in a project")
    source = models.CharField(max_length=200, blank=True)
    metadata = ExactJSONField(default=dict, blank=True)
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True, help_text="failure tags")
    state = models.CharField(max_length=12, choices=DocumentState.choices, default=DocumentState.NEW)
    holdout = models.BooleanField(default=False, help_text="in the hold-out; permanent once a dataset version has it")
    synthetic = models.BooleanField(default=False)
    # Not indexed, so locking changes no index (the trigrams of the text are expensive).
    locked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    locked_until = models.DateTimeField(null=True, blank=True)
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    overlap = models.PositiveSmallIntegerField(default=1, help_text="number of annotators who label it independently")
    # A database default: imports by COPY do not set the column.
    disputed = models.BooleanField(
        default=False, db_default=False, help_text="its annotations conflict; it waits for adjudication"
    )
    selection = models.CharField(
        max_length=8, choices=Selection.choices, blank=True, default="", db_default="",
        help_text="targeted documents are never sampled into the hold-out: they do not represent the requests",
    )  # fmt: skip
    page_count = models.PositiveSmallIntegerField(default=0, help_text="pages with an image; 0 for plain text")
    skip_reason = models.CharField(max_length=300, blank=True)
    returned = models.JSONField(
        null=True,
        blank=True,
        help_text="while it is requeued for a schema version: the number of that version, the reason, and the former "
        "state and disputed",
    )
    erased_at = models.DateTimeField(
        null=True, blank=True, help_text="its text and labels were erased; the row is one of something frozen"
    )
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
            models.Index(
                fields=["project", "assigned_to", "id"],
                name="document_assigned",
                condition=models.Q(assigned_to__isnull=False),
            ),
            models.Index(fields=["project", "id"], name="document_disputed", condition=models.Q(disputed=True)),
            # The queue: unassigned documents, and those of a user.
            models.Index(
                fields=["project", "id"],
                name="document_open",
                condition=models.Q(assigned_to__isnull=True, state__in=["new", "in_progress", "rejected"]),
            ),
            models.Index(
                fields=["project", "assigned_to", "id"],
                name="document_mine",
                condition=models.Q(assigned_to__isnull=False, state__in=["new", "in_progress", "rejected"]),
            ),
            models.Index(fields=["project", "id"], name="document_overlap", condition=models.Q(overlap__gt=1)),
            models.Index(fields=["project", "source", "id"], name="document_source"),
            models.Index(fields=["project", "id"], name="document_synthetic", condition=models.Q(synthetic=True)),
            GinIndex(fields=["tags"], name="document_tags"),
        ]

    def __str__(self) -> str:
        return self.external_id

    def get_absolute_url(self) -> str:
        """The document's page."""
        return reverse("document", args=[self.project.slug, self.pk])

    @property
    def requeue_reason(self) -> str:
        """Why a schema version requeued it, as a message; "" otherwise."""
        if not self.returned or self.state not in QUEUE:
            return ""
        reason = self.returned["reason"]
        return f"The schema changed to v{self.returned['number']}{f': {reason}' if reason else ''}."


class Page(models.Model):
    """One page of a document that has images. ``start`` and ``end``: the offsets of its text in the document's text.

    ``lines`` is ``[[start, end, left, top, right, bottom], ...]``: offsets in the document's text (characters) and a
    box in pixels of the page's image (``width`` by ``height``).
    """

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="pages", db_index=False)
    number = models.PositiveSmallIntegerField()
    image_key = models.CharField(
        max_length=300, blank=True, help_text="in the artifact store; empty: no image, only boxes"
    )
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    start = models.PositiveIntegerField()
    end = models.PositiveIntegerField()
    lines = models.JSONField(default=list, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["document", "number"], name="page_number_once")]

    def __str__(self) -> str:
        return f"page {self.number} of document {self.document_id}"


class DocumentSearch(models.Model):
    """The text search: id and text of a document in capitals, with a trigram index.

    A separate table, filled after an import in the order of ids: documents are visible at once, the expensive index
    follows, and later changes of a document do not affect it. Documents after the last row of their project are not
    indexed yet.
    """

    document = models.OneToOneField(Document, on_delete=models.CASCADE, primary_key=True, related_name="search")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    content = models.TextField()

    class Meta:
        indexes = [
            models.Index(fields=["project", "document"], name="search_project"),
            GinIndex(fields=["content"], name="search_trigrams", opclasses=["gin_trgm_ops"]),
        ]

    def __str__(self) -> str:
        return f"search entry of document {self.document_id}"


class DocumentScore(models.Model):
    """The field accuracy of a document in its last evaluation."""

    document = models.OneToOneField(Document, on_delete=models.CASCADE, primary_key=True, related_name="last_score")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    score = models.FloatField(help_text="from 0 to 1")
    wrong_fields = ArrayField(models.CharField(max_length=300), default=list, blank=True)
    source = models.CharField(max_length=120, help_text="the name of the evaluation")
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["project", "score", "document"], name="score_project")]

    def __str__(self) -> str:
        return f"{percent(self.score, 0)} on document {self.document_id}"


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
