"""What serves a project: releases, the deployment with its stage, and the replicas that answer."""

from datetime import timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from evaluation.models import Endpoint, GateReport
from labeling.models import Project
from serving.models.packages import Package


class Stage(models.TextChoices):
    """How a candidate receives traffic."""

    SHADOW = "shadow", "Shadow"
    CANARY = "canary", "Canary"
    FULL = "full", "Full"


class Capture(models.TextChoices):
    """Who may send requests that are forwarded to the external model as they are."""

    TOKEN = "token", "With a project token"
    OWN_KEY = "own_key", "With a project token or a registered key of the external model"


class Release(models.Model):
    """A version of a project's model for callers: a package, or an external model that is used today.

    A package that was approved names its gate report. Without one it can only run in shadow.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField(help_text="the version that clients see")
    package = models.ForeignKey(Package, null=True, blank=True, on_delete=models.PROTECT, related_name="releases")
    variant = models.CharField(max_length=40, blank=True, help_text="of the package; empty: the first one")
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="releases")
    report = models.ForeignKey(GateReport, null=True, blank=True, on_delete=models.PROTECT, related_name="releases")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="release_number_once"),
            models.UniqueConstraint(
                fields=["package", "report", "variant"],
                name="release_once",
                nulls_distinct=False,
                condition=models.Q(package__isnull=False),
            ),
            models.CheckConstraint(
                name="release_has_one_model",
                condition=models.Q(package__isnull=False, endpoint__isnull=True)
                | models.Q(package__isnull=True, endpoint__isnull=False, report__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number}"

    @property
    def model_label(self) -> str:
        """The model that answers."""
        return str(self.endpoint) if self.package is None else self.package.eval_run.model_label

    @property
    def label(self) -> str:
        """The version with the model that answers."""
        return f"version {self.number}: {self.model_label}"


class DeploymentQuerySet(models.QuerySet["Deployment"]):
    """Named reads of deployments."""

    def with_releases(self) -> Self:
        """With both releases and what they are of, in one query."""
        return self.select_related(
            "project",
            "stable__package__eval_run__model_version",
            "stable__package__eval_run__training_run",
            "stable__package__eval_run__classical",
            "stable__endpoint",
            "candidate__package__eval_run__model_version",
            "candidate__package__eval_run__training_run",
            "candidate__package__eval_run__classical",
            "candidate__endpoint",
        )


class Deployment(models.Model):
    """What answers for a project: the stable release, a candidate with its stage and share, and how many replicas.

    ``revision`` grows with every change, so that a gateway notices it.
    """

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="deployment")
    stable = models.ForeignKey(Release, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    candidate = models.ForeignKey(Release, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    stage = models.CharField(max_length=10, choices=Stage.choices, blank=True, help_text="of the candidate")
    share = models.FloatField(default=0, help_text="of the requests that the candidate answers, 0 to 1")
    replicas = models.PositiveSmallIntegerField(default=1, help_text="of each release that serves")
    max_queue = models.PositiveSmallIntegerField(default=64, help_text="requests that wait for a replica")
    retention_days = models.PositiveSmallIntegerField(
        default=30, help_text="days that texts and outputs of requests are stored; 0: never stored"
    )
    capture = models.CharField(
        max_length=8, choices=Capture.choices, blank=True, help_text="whether requests are forwarded unchanged"
    )
    sticky = models.BooleanField(default=False, help_text="whether a client always gets the same version")
    revision = models.PositiveIntegerField(default=1)
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[Any] = DeploymentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="deployment_share", condition=models.Q(share__gte=0, share__lte=1)),
            models.CheckConstraint(
                name="deployment_stage_of_candidate",
                condition=models.Q(candidate__isnull=True, stage="", share=0) | models.Q(candidate__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"deployment of {self.project_id}"

    def get_absolute_url(self) -> str:
        """The page of the deployment."""
        return reverse("deployment", args=[self.project.slug])

    @property
    def serving(self) -> list[Release]:
        """The releases that need replicas."""
        return [release for release in (self.stable, self.candidate) if release is not None]


class DeploymentEvent(models.Model):
    """A change of a deployment; rows are only added."""

    class Kind(models.TextChoices):
        """What happened."""

        DEPLOYED = "deployed", "Deployed"
        PROMOTED = "promoted", "Promoted"
        ABORTED = "aborted", "Aborted"
        ROLLED_BACK = "rolled_back", "Rolled back"
        STOPPED = "stopped", "Stopped"
        POLICY = "policy", "Answer policy changed"
        BROKEN = "broken", "Error budget exceeded"
        RESUMED = "resumed", "Error budget resumed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="deployment_events", db_index=False)
    kind = models.CharField(max_length=12, choices=Kind.choices)
    release = models.ForeignKey(Release, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    stable = models.ForeignKey(
        Release,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="stable version after the event",
    )
    stage = models.CharField(max_length=10, choices=Stage.choices, blank=True)
    share = models.FloatField(default=0)
    reason = models.TextField(blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+",
        help_text="empty: the application",
    )  # fmt: skip
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["project", "-id"], name="deployment_history")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.release}"


class ReplicaQuerySet(models.QuerySet["Replica"]):
    """Named reads of replicas."""

    def alive(self) -> Self:
        """With a heartbeat within the last seconds, by the database's clock."""
        return self.filter(heartbeat_at__gte=Now() - timedelta(seconds=settings.REPLICA_LOST_AFTER_SECONDS))

    def ready(self) -> Self:
        """That answer requests."""
        return self.alive().filter(state=Replica.State.READY)


class Replica(models.Model):
    """One process that answers for a release on one host; kept by ``manage.py serve`` there."""

    class State(models.TextChoices):
        """Where it stands."""

        STARTING = "starting", "Starting"
        READY = "ready", "Ready"
        DRAINING = "draining", "Draining"
        FAILED = "failed", "Failed"

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="replicas")
    host = models.CharField(max_length=200)
    slot = models.PositiveSmallIntegerField(help_text="its number on the host")
    state = models.CharField(max_length=10, choices=State.choices, default=State.STARTING)
    address = models.CharField(max_length=300, blank=True, help_text="unix:PATH or http://HOST:PORT")
    pid = models.PositiveIntegerField(default=0)
    identity = models.JSONField(default=dict, blank=True, help_text="hashes as the running process reports them")
    error = models.TextField(blank=True, help_text="why it failed, as a sentence")
    starts = models.PositiveIntegerField(default=0)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = ReplicaQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["release", "host", "slot"], name="replica_slot_once")]

    def __str__(self) -> str:
        return f"replica {self.slot} of {self.release} on {self.host}"


class ReplicaCrash(models.Model):
    """A replica that answered, and whose process then ended by itself; rows are only added."""

    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="crashes", db_index=False)
    host = models.CharField(max_length=200)
    error = models.TextField(blank=True, help_text="why, as a sentence")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["release", "created_at"], name="replica_crashes")]

    def __str__(self) -> str:
        return f"crash of {self.release} on {self.host}"
