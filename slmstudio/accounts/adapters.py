"""What differs from allauth's defaults: who may create an account, who counts attempts, and what is encrypted."""

import secrets
from typing import Any

import requests
from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from slmstudio import hooks
from slmstudio.accounts.encryption import decrypt, encrypt
from slmstudio.accounts.oidc import accounts
from slmstudio.accounts.sign_in import log_event
from slmstudio.models import SignInEvent
from slmstudio.web.addresses import client_address

#: in the session: the invitation with which an account may be created
INVITATION = "invitation"


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are created by invitation; attempts are counted by ``sign_in.Guard``."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "username_password_mismatch": "The username or the password is wrong. Both are case-sensitive.",
        "email_password_mismatch": "The email address or the password is wrong.",
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Whether the session has a valid invitation."""
        invitation = request.session.get(INVITATION, "")
        return bool(invitation) and any(hooks.invitation_checked.call(invitation))

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Nothing: the backend ``sign_in.Guard`` counts attempts, and does not lock out the owner of an account."""

    def pre_login(self, request: HttpRequest, user: User, **more: Any) -> HttpResponse | None:
        """A page instead of the sign-in: for an inactive account, or one of the provider that does not come from there,
        such as by a passkey, past the provider's rules."""
        answer: HttpResponse | None = super().pre_login(request, user, **more)
        if answer is None and is_of_provider(user) and "sociallogin" not in (more.get("signal_kwargs") or {}):
            context = {"title": "Sign in with your company account", "text": _PROVIDER, "status": 403}
            return render(request, "error.html", context, status=403)
        return answer

    def set_password(self, user: User, password: str) -> None:
        """Sets a password. Raises PermissionDenied for an account of the provider."""
        if is_of_provider(user):
            raise PermissionDenied(_PROVIDER)
        super().set_password(user, password)

    def send_password_reset_mail(self, user: User, email: str, context: dict[str, Any]) -> None:
        """Sends the link; none to an account of the provider."""
        if not is_of_provider(user):
            super().send_password_reset_mail(user, email, context)

    def get_client_ip(self, request: HttpRequest) -> str:
        """The client's address. A UNIX socket has none, and the column needs one."""
        address = client_address(request)
        return address if address and address != "localhost" else "127.0.0.1"

    def add_message(
        self, request: HttpRequest, level: int, message_template: str | None = None, *args: Any, **more: Any
    ) -> None:
        """Shows a message, except those about signing in and out: the page shows that."""
        if message_template not in ("account/messages/logged_in.txt", "account/messages/logged_out.txt"):
            super().add_message(request, level, message_template, *args, **more)


def is_of_provider(user: User) -> bool:
    """Whether an account signs in at the company's provider alone."""
    return hasattr(user, "oidc") and not user.has_usable_password()


class MfaAdapter(DefaultMFAAdapter):
    """Seeds of authenticator apps and of recovery codes are encrypted."""

    def encrypt(self, text: str) -> str:
        """The text encrypted."""
        return encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        """The text of ``encrypt``."""
        return decrypt(encrypted_text)


class OidcAdapter(DefaultSocialAccountAdapter):
    """Everyone with an account at the company's provider may sign in; groups decide what they may do."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """The first sign-in creates the account."""
        return True

    def generate_state_param(self, state: dict[str, Any]) -> str:
        """The ``state`` of a request to the provider: 256 bits."""
        return secrets.token_urlsafe(32)

    def get_requests_session(self) -> requests.Session:
        """A client for the provider, which follows no redirects: they raise TooManyRedirects."""
        session: requests.Session = super().get_requests_session()
        session.max_redirects = 0
        return session

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Activates an account again that the provider had refused.

        Raises:
            ImmediateHttpResponse: a page, where an account of the studio has the person's email address.
        """
        user = sociallogin.user
        if not isinstance(user, User):
            return
        if sociallogin.is_existing:
            if not user.is_active:
                accounts.reactivate(user)
        elif request.user.is_anonymous and user.email and User.objects.filter(email__iexact=user.email).exists():
            context = {"title": "You have an account already", "text": _CONNECT, "status": 409}
            raise ImmediateHttpResponse(render(request, "error.html", context, status=409))

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None, extra_context: Any = None
    ) -> None:
        """A page that says why, and leads to another attempt."""
        accounts.logger.warning("sign-in at the provider failed: %s %s", error, exception or "")
        log_event(SignInEvent.Kind.FAILED, name=settings.OIDC_NAME, address=client_address(request))
        reason = {"cancelled": "The sign-in was cancelled."}.get(str(getattr(error, "value", error)), "")
        context = {"title": "The sign-in failed", "text": reason or _REASON, "status": 403}
        raise ImmediateHttpResponse(render(request, "error.html", context, status=403))


_PROVIDER = "This account belongs to your company's provider, which has its password and its rules for signing in."
_CONNECT = "Sign in with its username and password, and connect the provider under Account. Nothing was changed."
_REASON = "The provider's answer was not valid, or it does not respond. Try again, or ask an administrator."


def on_signed_in(request: HttpRequest, user: User, sociallogin: SocialLogin | None = None, **_: Any) -> None:
    """Receiver of allauth's signal: stores what the provider said."""
    if sociallogin is not None:
        token = sociallogin.token
        accounts.signed_in(user, sociallogin.account.extra_data, token.token_secret if token is not None else "")
