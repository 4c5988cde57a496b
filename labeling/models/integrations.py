"""API tokens and webhooks."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxLengthValidator, URLValidator
from django.db import models
from django.utils import timezone

from labeling.models.projects import Project
from slmstudio.accounts.encryption import EncryptedField


class ApiToken(models.Model):
    """Authenticates a program as a member of one project, within scopes. Only a hash of it is stored.

    It never can more than its person can now: the role is asked for at every request.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tokens")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, help_text="its first characters, to identify it")
    sha256 = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=20))
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    # set by labeling.integrations.tokens.authenticate
    role: str | None

    def __str__(self) -> str:
        return self.name

    @property
    def has_ended(self) -> bool:
        """Whether it is revoked or expired."""
        return self.revoked_at is not None or (self.expires_at is not None and self.expires_at <= timezone.now())


class Webhook(models.Model):
    """A URL that receives events of a project, signed with a secret derived from ``salt``: the name of a signing key, a
    colon, and random characters.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhooks")
    # receivers accept whoever knows the path
    url = EncryptedField(validators=[URLValidator(), MaxLengthValidator(500)])
    events = ArrayField(models.CharField(max_length=40))
    salt = models.CharField(max_length=64)
    active = models.BooleanField(default=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return str(self.url)


class WebhookDelivery(models.Model):
    """A delivery of an event to a webhook. Failed attempts are repeated with increasing delays, up to a maximum."""

    class Status(models.TextChoices):
        """The status of a delivery."""

        WAITING = "waiting", "Pending"
        DELIVERED = "delivered", "Delivered"
        GIVEN_UP = "given_up", "Failed"

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event = models.CharField(max_length=40)
    payload = models.JSONField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    response_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)
    milliseconds = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["webhook", "-id"], name="delivery_log"),
            models.Index(fields=["next_attempt_at"], name="delivery_due", condition=models.Q(status="waiting")),
        ]

    def __str__(self) -> str:
        return f"{self.event} to webhook {self.webhook_id}"
