"""Models without an app: the sign-in log, and the accounts of the company's provider."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class SignInEvent(models.Model):
    """One sign-in, failure, sign-out or lock-out, or a change of how an account signs in. The database rejects changes
    and deletions of a row."""

    class Kind(models.TextChoices):
        """The type of an event."""

        SIGNED_IN = "signed in", "Signed in"
        FAILED = "failed to sign in", "Failed to sign in"
        SIGNED_OUT = "signed out", "Signed out"
        LOCKED_OUT = "locked out", "Locked out"
        DEACTIVATED = "deactivated", "Deactivated by the provider"
        REACTIVATED = "reactivated", "Reactivated by the provider"
        CREATED = "account created", "Account created"
        PASSWORD = "changed password", "Changed the password"
        PASSWORD_RESET = "reset password", "Reset the password"
        EMAIL = "changed email", "Changed the email address"
        FACTOR_ADDED = "added factor", "Added a factor or recovery codes"
        FACTOR_REMOVED = "removed factor", "Removed a factor"
        CONNECTED = "connected provider", "Connected the provider"
        DISCONNECTED = "left provider", "Disconnected the provider"

    kind = models.CharField(max_length=20, choices=Kind)
    #: as typed, even if there is no such account
    name = models.CharField(max_length=150)
    # Rows outlive accounts and have no foreign key to them.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        db_constraint=False,
        on_delete=models.DO_NOTHING,
        related_name="+",
    )
    address = models.CharField(max_length=45, blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


class OidcAccount(models.Model):
    """What the company's provider says about an account: its groups, and whether it still exists there."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="oidc")
    #: encrypted; empty: the provider issues none, and changes are seen at the next sign-in
    refresh_token = models.TextField(blank=True)
    groups = models.JSONField(default=list)
    checked_at = models.DateTimeField(default=timezone.now, db_index=True)
    #: since when the provider refuses it; the account was deactivated then
    refused_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"account of user {self.user_id} at the provider"
