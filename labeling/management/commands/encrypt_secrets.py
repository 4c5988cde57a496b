"""``manage.py encrypt_secrets``: encrypts the secrets in the database again, with the current key.

They are addresses of webhooks, seeds of authenticator apps and recovery codes, and refresh tokens of the company's
provider. Former keys can be removed afterward.
"""

from collections.abc import Callable, Iterable
from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import TextField
from django.db.models.functions import Cast

from labeling.models import Webhook
from slmstudio.accounts.encryption import Unreadable, encrypt_again, read
from slmstudio.models import OidcAccount


class Command(BaseCommand):
    """Encrypts secrets again."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        kinds: tuple[tuple[str, Any, Callable[[Any], None]], ...] = (
            ("webhooks", Webhook.objects, _webhook),
            ("authenticators", Authenticator.objects, _authenticator),
            ("accounts of the provider", OidcAccount.objects, _account),
        )
        failed = sum(self._encrypt(name, manager, again) for name, manager, again in kinds)
        if failed:
            raise CommandError(f"{failed} values cannot be decrypted. Add the key that encrypted them, and try again.")

    def _encrypt(self, name: str, manager: Any, again: Callable[[Any], None]) -> int:
        """Encrypts the secrets of these rows; returns the number of those that no key decrypts."""
        keys: Iterable[int] = manager.order_by("pk").values_list("pk", flat=True)
        done = failed = 0
        for pk in keys:
            try:
                with transaction.atomic():
                    for row in manager.select_for_update().filter(pk=pk):
                        again(row)
                        done += 1
            except Unreadable:
                failed += 1
        self.stdout.write(f"{name}: {done} encrypted, {failed} not readable")
        return failed


def _webhook(row: Webhook) -> None:
    rows = Webhook.objects.filter(pk=row.pk)
    rows.update(url=read(rows.values_list(Cast("url", TextField()), flat=True).get()))


def _authenticator(row: Authenticator) -> None:
    row.data = encrypt_again(row.data)
    row.save(update_fields=["data"])


def _account(row: OidcAccount) -> None:
    row.refresh_token = encrypt_again(row.refresh_token)
    row.save(update_fields=["refresh_token"])
