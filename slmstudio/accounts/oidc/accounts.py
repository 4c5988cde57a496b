"""Accounts of the company's provider: their groups, and their end.

A refresh token is used at short intervals: the answer has the person's current groups, and a refusal means that the
account was removed or disabled there. It is then deactivated here, which ends its sessions and tokens; the next
successful sign-in at the provider reactivates it.
"""

import logging
from datetime import timedelta
from typing import Any

import requests
from allauth.core.context import request_context
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from slmstudio import hooks
from slmstudio.accounts.encryption import Unreadable, decrypt, encrypt
from slmstudio.accounts.oidc.provider import OidcAdapter
from slmstudio.accounts.sign_in import log_event
from slmstudio.models import OidcAccount, SignInEvent

logger = logging.getLogger(__name__)
#: seconds between two questions about an account; gateways learn of a deactivation at once
CHECK_SECONDS = 30
#: accounts that are asked about in one go
BATCH = 50
#: groups of a person that are kept, and characters of a name
MAX_GROUPS, MAX_NAME_LENGTH = 500, 200


class Refused(Exception):
    """The provider does not accept the refresh token: the account is removed or disabled, or its sessions ended."""


def groups_of(claims: dict[str, Any]) -> list[str]:
    """The names of a person's groups in the claims of the ID token and of the user information; sorted."""
    for part in (claims.get("userinfo") or {}, claims.get("id_token") or {}):
        value = part.get(settings.OIDC_GROUPS_CLAIM)
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            names = {name for name in value if isinstance(name, str) and 0 < len(name) <= MAX_NAME_LENGTH}
            return sorted(names)[:MAX_GROUPS]
    return []


@transaction.atomic
def signed_in(user: User, claims: dict[str, Any], refresh_token: str) -> None:
    """Stores what the provider says at a sign-in."""
    account, _ = OidcAccount.objects.select_for_update().get_or_create(user=user)
    if refresh_token:
        account.refresh_token = encrypt(refresh_token)
    _store(account, groups_of(claims), is_new=_)


@transaction.atomic
def reactivate(user: User) -> None:
    """Activates an account that the provider refused and now accepts again; no other inactive account."""
    account = OidcAccount.objects.select_for_update().filter(user=user).exclude(refused_at=None).first()
    if account is None:
        return
    account.refused_at = None
    account.save(update_fields=["refused_at"])
    user.is_active = True
    user.save(update_fields=["is_active"])
    log_event(SignInEvent.Kind.REACTIVATED, name=user.get_username(), address="", user=user)


def check_accounts() -> bool:
    """Asks the provider about the accounts whose turn it is; returns whether more are waiting. A periodic task."""
    if not settings.OIDC_SERVER_URL:
        return False
    due = timezone.now() - timedelta(seconds=CHECK_SECONDS)
    accounts = OidcAccount.objects.filter(checked_at__lt=due, user__is_active=True).exclude(refresh_token="")
    waiting = [*accounts.select_related("user").order_by("checked_at")[:BATCH]]
    for account in waiting:
        check(account)
    return len(waiting) == BATCH


def check(account: OidcAccount) -> None:
    """Asks the provider about an account. An unreachable provider changes nothing."""
    OidcAccount.objects.filter(pk=account.pk).update(checked_at=timezone.now())
    try:
        claims, refresh_token = _refresh(decrypt(account.refresh_token))
    except Refused as refusal:
        _deactivate(account, str(refusal))
        return
    except Unreadable as error:
        logger.warning("the refresh token of %s: %s", account.user, error)
        return
    except (requests.RequestException, OAuth2Error, ValueError, KeyError) as error:
        logger.warning("the provider does not say whether %s still has an account: %s", account.user, error)
        return
    with transaction.atomic():
        row = OidcAccount.objects.select_for_update().select_related("user").get(pk=account.pk)
        if refresh_token:
            row.refresh_token = encrypt(refresh_token)
        _store(row, groups_of(claims))


def _refresh(refresh_token: str) -> tuple[dict[str, Any], str]:
    """The claims of an account now, and the next refresh token ("" if this one stays)."""
    with request_context(HttpRequest()) as request:
        adapter = OidcAdapter(request)
        app = adapter.get_provider().app
        data = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        answer = requests.post(adapter.access_token_url, data=data, auth=(app.client_id, app.secret), timeout=5)
        if answer.status_code in (400, 401) and answer.json().get("error") == "invalid_grant":
            raise Refused(answer.json().get("error_description") or "invalid_grant")
        answer.raise_for_status()
        tokens = answer.json()
        claims: dict[str, Any] = {}
        if tokens.get("id_token"):
            claims["id_token"] = adapter.decode(tokens["id_token"])
            claims["userinfo"] = adapter.user_information(tokens["access_token"], claims["id_token"]["sub"])
        return claims, tokens.get("refresh_token") or ""


def _store(account: OidcAccount, groups: list[str], *, is_new: bool = False) -> None:
    before, account.groups = account.groups, groups
    account.checked_at = timezone.now()
    account.save()
    if is_new or before != groups:
        hooks.groups_changed.call(account.user, groups)


@transaction.atomic
def _deactivate(account: OidcAccount, reason: str) -> None:
    row = OidcAccount.objects.select_for_update().select_related("user").get(pk=account.pk)
    if row.refused_at is not None or row.refresh_token != account.refresh_token:
        return  # it signed in again
    row.refused_at, row.refresh_token = timezone.now(), ""
    row.save(update_fields=["refused_at", "refresh_token"])
    row.user.is_active = False
    row.user.save(update_fields=["is_active"])
    logger.warning("%s was deactivated: the provider refuses the account (%s)", row.user, reason)
    log_event(SignInEvent.Kind.DEACTIVATED, name=row.user.get_username(), address="", user=row.user)
    hooks.access_changed.call()
