"""Accounts in a browser: invitations, two-factor authentication, passkeys, confirmation, passwords by mail."""

import re
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth import get_user_model
from playwright.sync_api import Page, expect

from labeling.models import ApiToken, Invitation, Membership
from slmstudio.accounts import step_up
from tests.browser.accessibility import check
from tests.browser.conftest import As, Watch
from tests.labeling.label_desk import Desk, make_desk
from tests.stack.test_serve import free_port

PASSWORD = "correct horse battery"


@pytest.fixture
def desk(transactional_db: None, queues: None) -> Desk:
    desk = make_desk()
    desk.owner.set_password(PASSWORD)
    desk.owner.email = "owner@example.com"
    desk.owner.save()
    return desk


def sign_in(page: Page, name: str = "owner-desk", at: str = "/p/desk/settings/") -> None:
    page.goto(at)
    page.get_by_label("Username or email address").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.locator(".user-button").click()
    page.get_by_role("button", name="Sign out").click()


def code_of(secret: str, steps: int = 0) -> str:
    """What an authenticator app shows; ``steps`` of half a minute later."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps)))


@pytest.mark.slow
def test_an_invitation_leads_to_an_account(desk: Desk, logged_in: As, page: Page, watch: Watch) -> None:
    watch.allow("410 GET")
    owner = logged_in(desk.owner)
    owner.goto("/p/desk/settings/")
    owner.locator("#invitations").get_by_label("Role").select_option("reviewer")
    owner.get_by_role("button", name="Create link").click()
    check(owner, "settings-invitation")
    address = owner.get_by_label("Link of the invitation").input_value()
    assert Invitation.objects.get().sha256 not in address
    page.goto("/signup/")
    expect(page.get_by_role("heading", name="Sign Up Closed")).to_be_visible()  # without an invitation
    page.goto(address)
    check(page, "invitation")
    page.get_by_role("link", name="Create an account").click()
    check(page, "sign-up")
    page.get_by_label("Username").fill("nora")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Sign Up").click()
    expect(page.get_by_text("This password is too short")).to_be_visible()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign Up").click()
    page.get_by_role("button", name="Join as nora").click()
    expect(page.get_by_text("Welcome to Desk. Your role is reviewer.")).to_be_visible()
    assert Membership.objects.get(user__username="nora").role == "reviewer"
    page.goto(address)
    expect(page.get_by_text("This invitation has been used")).to_be_visible()


@pytest.mark.slow
def test_an_authenticator_app_is_required_enrolled_and_recovered(desk: Desk, page: Page, settings: Any) -> None:
    settings.MFA_REQUIRED_ROLES = ["owner", "manager"]
    sign_in(page)
    expect(page.get_by_role("heading", name="Two-Factor Authentication")).to_be_visible()
    check(page, "two-factor")
    page.get_by_role("link", name="Activate").click()
    if page.get_by_role("button", name="Confirm").count():
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
    secret = page.get_by_label("Authenticator secret").input_value()
    check(page, "authenticator-app")
    page.get_by_label("Authenticator code").fill(code_of(secret))
    page.get_by_role("button", name="Activate").click()
    codes = page.get_by_label("Unused codes").input_value().split()
    assert len(codes) == 10
    stored = str([*Authenticator.objects.values_list("data", flat=True)])
    assert secret not in stored
    assert codes[0] not in stored
    check(page, "recovery-codes")
    page.goto("/p/desk/settings/")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    sign_out(page)
    sign_in(page)
    check(page, "second-factor")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_text("Incorrect code")).to_be_visible()
    page.get_by_label("Code").fill(code_of(secret, 1))
    page.get_by_role("button", name="Sign In").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    for again in range(2):  # the telephone is lost; a code works once
        sign_out(page)
        sign_in(page)
        page.get_by_label("Code").fill(codes[0])
        page.get_by_role("button", name="Sign In").click()
        expect(page.get_by_role("heading", name="Settings" if not again else "Two-Factor")).to_be_visible()
        if again:
            break


@pytest.mark.slow
def test_a_passkey_is_added_and_signs_in(desk: Desk, page: Page) -> None:
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    sign_in(page)
    page.goto("/2fa/webauthn/add/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("laptop")
    page.get_by_label("Passwordless").check()
    check(page, "passkey-add")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_role("heading", name="Recovery Codes")).to_be_visible()
    sign_out(page)
    page.goto("/p/desk/settings/")
    check(page, "sign-in")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()


def test_a_token_needs_a_recent_confirmation(desk: Desk, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(page, at="/p/desk/tokens/")
    monkeypatch.setattr(step_up, "time", type("Later", (), {"time": staticmethod(lambda: time.time() + 301)}))
    page.get_by_label("Name").fill("reader")
    page.get_by_role("button", name="Create token").click()
    expect(page.get_by_role("heading", name="Confirm Access")).to_be_visible()
    assert not ApiToken.objects.exists()
    check(page, "confirm-access")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Incorrect password")).to_be_visible()
    monkeypatch.undo()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text(re.compile("^slm_")).first).to_be_visible()
    assert ApiToken.objects.get().name == "reader"


class Mailbox:
    """Messages that a mail server took."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Takes a message."""
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    box, port = Mailbox(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", port, False
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.ACCOUNT_EMAIL_NOTIFICATIONS = True
    yield box
    controller.stop()


@pytest.mark.slow
def test_a_forgotten_password_is_reset_by_mail(desk: Desk, page: Page, mailbox: Mailbox) -> None:
    page.goto("/login/")
    page.get_by_role("link", name="Forgot your password?").click()
    check(page, "password-reset")
    page.get_by_label("Email").fill("owner@example.com")
    page.get_by_role("button", name="Reset My Password").click()
    expect(page.get_by_role("heading", name="Password Reset")).to_be_visible()
    message = mailbox.messages[-1]
    assert message["To"] == "owner@example.com"
    link = re.search(r"http://\S+/password/reset/key/\S+", message.get_content())
    assert link is not None
    page.goto(link[0])
    for field in page.locator("input[type=password]").all():
        field.fill("another horse battery")
    page.get_by_role("button", name="Change Password").click()
    desk.owner.refresh_from_db()
    assert desk.owner.check_password("another horse battery")
    page.goto(link[0])
    expect(page.get_by_role("heading", name="Bad Token")).to_be_visible()
    assert get_user_model().objects.filter(username="owner-desk").exists()


@pytest.mark.slow
def test_an_invitation_is_sent_by_mail(desk: Desk, logged_in: As, mailbox: Mailbox) -> None:
    owner = logged_in(desk.owner)
    owner.goto("/p/desk/settings/")
    owner.locator("#invitations").get_by_label("Email address").fill("nora@example.com")
    owner.get_by_role("button", name="Create link").click()
    expect(owner.get_by_text("It was sent to nora@example.com.")).to_be_visible()
    assert owner.get_by_label("Link of the invitation").input_value() in mailbox.messages[0].get_content()


@pytest.mark.slow
def test_sessions_are_listed_and_ended(desk: Desk, page: Page, new_page: Callable[[], Page]) -> None:
    other = new_page()
    sign_in(other)
    sign_in(page)
    page.goto("/sessions/")
    check(page, "sessions")
    page.get_by_role("button", name="Sign Out Other Sessions").click()
    other.goto("/p/desk/settings/")
    expect(other).to_have_url(re.compile("/login/"))
    page.goto("/p/desk/settings/")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
