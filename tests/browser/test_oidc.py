"""Sign-in with the company's account, at a certified provider that runs for real."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from labeling.models import Membership
from labeling.projects import groups
from slmstudio.access import Role
from slmstudio.accounts.oidc import accounts
from slmstudio.accounts.oidc.configuration import origins, providers
from slmstudio.models import OidcAccount, SignInEvent
from tests.browser.conftest import Watch
from tests.conftest import ROOT
from tests.labeling.api_client import api_of
from tests.labeling.label_desk import Desk, make_desk
from tests.stack.test_serve import free_port

ANA = {"name": "Ana Ruiz", "email": "ana.ruiz@example.com", "groups": ["annotators", "sports"]}


@dataclass
class Company:
    """The provider, and the file of its accounts."""

    url: str
    file: Path

    def has(self, **people: dict[str, Any]) -> None:
        """These accounts exist now."""
        self.file.write_text(json.dumps(people))


@pytest.fixture
def company(live_server: LiveServer, tmp_path: Path, settings: Any) -> Iterator[Company]:
    port = free_port()
    provider = Company(f"http://localhost:{port}", tmp_path / "accounts.json")
    provider.has(ana=ANA)
    callback = f"{live_server.url}/oidc/login/callback/"
    command = ["node", str(ROOT / "tests/stack/oidc_server.mjs"), str(port), str(provider.file), callback]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        settings.OIDC_SERVER_URL = provider.url
        scopes = ["openid", "profile", "email"]
        settings.SOCIALACCOUNT_PROVIDERS = providers(
            provider.url, settings.OIDC_NAME, "studio", "secret-of-the-studio", scopes
        )
        policy = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
        allowed = [*policy["form-action"], *origins(provider.url)]
        settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {**policy, "form-action": allowed}}
        yield provider
        process.kill()


@pytest.fixture
def desk(transactional_db: None, queues: None) -> Desk:
    desk = make_desk()
    groups.add(project=desk.project, by=desk.owner, group="annotators", role=Role.ANNOTATOR)
    groups.add(project=desk.project, by=desk.owner, group="ml", role=Role.ENGINEER)
    return desk


def sign_in(page: Page, name: str = "ana") -> None:
    page.goto("/p/desk/")
    page.get_by_role("button", name="Sign in with Company account").click()
    page.locator("input[name=login]").fill(name)
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def roles(name: str = "ana") -> list[str]:
    return [*Membership.objects.filter(user__username=name).values_list("role", flat=True)]


def ask_again() -> OidcAccount:
    """What the periodic task does half a minute later."""
    OidcAccount.objects.update(checked_at=timezone.now() - timedelta(minutes=1))
    accounts.check_accounts()
    return OidcAccount.objects.get()


def test_groups_give_and_take_roles(company: Company, desk: Desk, page: Page, watch: Watch) -> None:
    watch.allow("404 GET /p/desk/")
    sign_in(page)
    expect(page.get_by_role("heading", name="Desk")).to_be_visible()
    user = get_user_model().objects.get(username="ana")
    assert (user.email, user.has_usable_password(), roles()) == (ANA["email"], False, ["annotator"])
    company.has(ana={**ANA, "groups": ["annotators", "ml"]})
    assert ask_again().groups == ["annotators", "ml"]
    assert roles() == ["engineer"]
    company.has(ana={**ANA, "groups": []})
    ask_again()
    assert roles() == []
    assert page.goto("/p/desk/").status == 404  # type: ignore[union-attr]


@pytest.mark.slow
def test_an_account_that_is_removed_loses_sessions_and_tokens(
    company: Company, desk: Desk, page: Page, watch: Watch
) -> None:
    watch.allow("500 GET /auth")
    sign_in(page)
    user = get_user_model().objects.get(username="ana")
    api = api_of(desk.project, user, "read")
    assert api.get("documents").status == 200
    assert "secret" not in OidcAccount.objects.get().refresh_token
    company.has()
    assert ask_again().refused_at is not None
    page.goto("/p/desk/")
    expect(page).to_have_url(re.compile("/login/"))
    assert api.get("documents").status == 401
    page.get_by_role("button", name="Sign in with Company account").click()  # its session at the provider is over, too
    assert "/p/desk/" not in page.url
    company.has(ana=ANA)  # hired again
    page.context.clear_cookies()
    sign_in(page)
    expect(page.get_by_role("heading", name="Desk")).to_be_visible()
    kinds = SignInEvent.objects.order_by("pk").values_list("kind", flat=True)
    assert [*kinds] == ["account created", "signed in", "deactivated", "reactivated", "signed in"]


@pytest.mark.slow
def test_an_account_that_an_administrator_deactivated_stays_so(company: Company, desk: Desk, page: Page) -> None:
    sign_in(page)
    get_user_model().objects.filter(username="ana").update(is_active=False)
    page.context.clear_cookies()
    sign_in(page)
    expect(page.get_by_text("This account is inactive")).to_be_visible()


@pytest.mark.slow
def test_a_provider_that_is_away_changes_nothing(company: Company, desk: Desk, page: Page, settings: Any) -> None:
    sign_in(page)
    settings.SOCIALACCOUNT_PROVIDERS["oidc"]["APPS"][0]["settings"]["server_url"] = "http://localhost:9"
    assert ask_again().refused_at is None
    assert roles() == ["annotator"]
