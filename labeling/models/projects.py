"""Projects, memberships, contracts and the migration of labels to another schema."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone

from slmstudio import access
from slmstudio.access import Role
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema, loads
from slmstudio.runs.models import BackgroundRun, Status


class ProjectQuerySet(models.QuerySet["Project"]):
    """Named queries of projects."""

    def of(self, user: User) -> Self:
        """The projects that a user is a member of."""
        return self.filter(memberships__user=user).order_by("name")

    def editable(self) -> Self:
        """Those that are not archived."""
        return self.filter(archived_at=None)


class Project(models.Model):
    """A task with its members."""

    class QueueOrder(models.TextChoices):
        """The order in which unassigned documents are labeled."""

        IMPORT = "", "Import order"
        COMBINED = "combined", "Uncertain and different from each other"
        CONFIDENCE = "confidence", "Lowest confidence first"
        DISAGREEMENT = "disagreement", "Disagreement of two models"
        DIVERSITY = "diversity", "Least similar to labeled documents"
        RANDOM = "random", "Random order"

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    template = models.CharField(max_length=40, blank=True, help_text="the template that it was created from")
    review_required = models.BooleanField(
        default=False, help_text="a submitted annotation becomes gold when it is approved"
    )
    four_eyes = models.BooleanField(
        default=True, help_text="users cannot review their own labels or approve their own runs"
    )
    overlap_share = models.FloatField(default=0, help_text="share of new documents with overlap, 0 to 1")
    overlap_people = models.PositiveSmallIntegerField(default=2, help_text="annotators per document with overlap")
    withheld_share = models.FloatField(default=0.05, help_text="share of withheld pre-labels, 0 to 1")
    confidence_floor = models.FloatField(
        default=0.85, help_text="pre-filled fields with a lower confidence need attention"
    )
    extra_tags = ArrayField(
        models.CharField(max_length=40),
        default=list,
        blank=True,
        help_text="failure tags of this project, in addition to the vocabulary",
    )
    webhook_events = ArrayField(
        models.CharField(max_length=40),
        default=list,
        blank=True,
        help_text="the events that any of its webhooks receives",
    )
    queue_order = models.CharField(max_length=12, choices=QueueOrder.choices, blank=True, default=QueueOrder.IMPORT)
    order_control = models.FloatField(
        default=0.2, help_text="share of the random places, 0 to 1; see labeling.queue_order"
    )
    order_run = models.ForeignKey(
        "labeling.Study",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="the computation of the order that is in effect; empty: import order",
    )
    created_at = models.DateTimeField(default=timezone.now)
    archived_at = models.DateTimeField(null=True, blank=True, help_text="since when it is read-only")

    objects: ClassVar[Any] = ProjectQuerySet.as_manager()

    # set by slmstudio.access for the signed-in user
    role: str
    can: set[str]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The project's home."""
        return reverse("project", args=[self.slug])

    @property
    def is_read_only(self) -> bool:
        """Whether it is archived."""
        return self.archived_at is not None

    def next_number(self, model: type[models.Model], **lookup: Any) -> int:
        """The next number of a kind of row in this project. Call it in a transaction: it locks the project's row."""
        Project.objects.select_for_update(no_key=True).get(pk=self.pk)
        rows = model._default_manager.filter(project=self, **lookup)
        return int(rows.aggregate(newest=models.Max("number"))["newest"] or 0) + 1

    @property
    def currency(self) -> str:
        """The currency of costs, from the contract; "" means the default one."""
        contract: Contract | None = getattr(self, "contract", None)
        return str(contract.constraints.get("currency") or "") if contract else ""

    @property
    def schema_version(self) -> "SchemaVersion":
        """The newest version of the schema."""
        version = self.schema_versions.order_by("-number").first()
        if version is None:
            raise SchemaVersion.DoesNotExist(f"project {self.slug} has no schema")
        return version


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Named queries of memberships."""

    def of(self, user: User | AnonymousUser, slug: str) -> "Membership | None":
        """The membership of a user in the project with a slug; None for anonymous users."""
        rows = self.select_related("project")
        return rows.filter(project__slug=slug, user_id=user.pk).first() if user.pk else None

    def by_name(self) -> Self:
        """With their users, by user name."""
        return self.select_related("user").order_by("user__username")

    def overview(self, user: User) -> Self:
        """The projects of a user by name, each with the number of its dataset ``versions``."""
        from labeling.models.datasets import DatasetVersion

        def count(rows: models.QuerySet[Any]) -> Coalesce:
            total = rows.filter(project=models.OuterRef("project")).order_by().values("project")
            return Coalesce(models.Subquery(total.annotate(total=models.Count("pk")).values("total")), 0)

        return (
            self.filter(user=user)
            .select_related("project")
            .annotate(versions=count(DatasetVersion.objects.all()))
            .order_by("project__name", "pk")
        )


class Membership(models.Model):
    """A user's role in a project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships", db_index=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices)
    role_since = models.DateTimeField(
        null=True, default=timezone.now, help_text="when the role was given; empty: before this was recorded"
    )
    role_given_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    is_from_group = models.BooleanField(
        default=False, db_default=False, help_text="given by groups at the company's provider, and ends with them"
    )

    is_service = models.BooleanField(default=False, db_default=False, help_text="the account of a program")

    objects: ClassVar[Any] = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_role_per_project")]

    def __str__(self) -> str:
        return f"{self.role} in project {self.project_id}"


class GroupRole(models.Model):
    """The role in a project of the members of a group at the company's provider."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="group_roles", db_index=False)
    group = models.CharField(max_length=200)
    role = models.CharField(max_length=10, choices=Role.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "group"], name="one_role_per_group")]

    def __str__(self) -> str:
        return f"{self.group}: {self.role}"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    """Named queries of invitations."""

    def open(self) -> Self:
        """Those that can be accepted, newest first."""
        now = timezone.now()
        return self.filter(accepted_at=None, revoked_at=None, expires_at__gt=now).order_by("-created_at", "-pk")


class Invitation(models.Model):
    """An invitation to a project by a link, which works once. Only a hash of its secret is stored."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=10, choices=Role.choices)
    email = models.EmailField(blank=True, help_text="where it was sent; empty: the link was handed over")
    sha256 = models.CharField(max_length=64, unique=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = InvitationQuerySet.as_manager()

    def __str__(self) -> str:
        return f"invitation {self.pk} to project {self.project_id}"


class Contract(models.Model):
    """The contract of a project without its schema: the instruction and the production constraints.

    ``constraints`` holds any of ``latency_p95_ms``, ``requests_per_second``, ``cost_per_request``,
    ``hardware_memory_gb``, ``hardware_price_per_hour``, ``expected_volume`` (documents per month), ``review_cost``
    (per document) and ``currency``. They pre-fill the gates and determine the error cost.
    """

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="contract")
    instruction = models.TextField()
    constraints = models.JSONField(default=dict, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"contract of project {self.project_id}"


class SchemaVersion(models.Model):
    """One version of a project's JSON Schema; immutable (the database rejects changes)."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="schema_versions", db_index=False)
    number = models.PositiveIntegerField()
    # Text, not jsonb: jsonb sorts keys, and the order of properties is the order of form, decoder and output.
    schema_text = models.TextField(help_text="the schema as compact JSON, in the author's property order")
    source_text = models.TextField(
        blank=True, default="", help_text="the schema as it was pasted; empty if it was not translated"
    )
    sha256 = models.CharField(max_length=64)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="schema_number_once")]

    def __str__(self) -> str:
        return f"v{self.number}"

    @property
    def compiled(self) -> CompiledSchema:
        """The schema ready for use; compiled once per process and hash."""
        return compile_schema(loads(self.schema_text))


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
