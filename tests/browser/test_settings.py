"""Settings, tokens, webhooks and the API reference: no inline scripts or styles, light and dark."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from labeling.integrations import deliveries, tokens, webhooks
from labeling.models import Document, WebhookDelivery
from tests.browser.accessibility import check
from tests.browser.conftest import As, Watch
from tests.labeling.desk import Desk, bring_in, invoice, make_desk


@pytest.fixture
def work(transactional_db: None, queues: None, settings: Any) -> Desk:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    work = make_desk()
    bring_in(work.project, [invoice(1, gold=False)])
    return work


@pytest.mark.slow
def test_webhooks(work: Desk, logged_in: As) -> None:
    hook = webhooks.create(
        project=work.project, user=work.people["owner"], url="http://127.0.0.1:9/hook", events=["dataset.frozen"]
    )
    page = logged_in(work.people["owner"])
    page.goto("/p/desk/settings/webhooks/add/")
    check(page, "webhook-new")
    page.goto(f"/p/desk/settings/webhooks/{hook.pk}/")
    page.get_by_text("Show the secret").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator("#log")).to_contain_text(re.compile("Queued|Retrying"))
    delivery = WebhookDelivery.objects.get()
    deliveries.deliver(delivery.pk)
    expect(page.locator("#log")).to_contain_text("cannot be reached")  # the log updates itself
    page.locator(f"#data-{delivery.pk}").get_by_text("Data").click()
    expect(page.locator(f"#data-{delivery.pk} pre")).to_be_visible()
    check(page, "webhook")


def test_a_token_is_shown_once(work: Desk, logged_in: As, live_server: LiveServer) -> None:
    page = logged_in(work.people["annotator"])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live_server.url)
    page.goto("/p/desk/tokens/")
    page.get_by_label("Name").fill("my program")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#made-title")).to_be_focused()
    shown = page.locator("#made-token").input_value()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert page.evaluate("() => navigator.clipboard.readText()") == shown
    assert tokens.authenticate(shown) is not None
    check(page, "tokens")


def test_settings_and_an_error_at_a_member(work: Desk, logged_in: As, watch: Watch) -> None:
    """The error moves no control of its row."""
    watch.allow("422")
    page = logged_in(work.people["owner"])
    page.goto("/p/desk/settings/")
    page.get_by_text("Permissions of the roles").click()
    check(page, "settings")
    form = page.locator("form[action$='/members/add/#members']")
    controls = form.locator("input.form-control, select, button")

    def boxes() -> list[tuple[float, ...]]:
        places = [box for control in controls.all() if (box := control.bounding_box())]
        return [(box["x"], box["y"] - places[0]["y"], box["width"], box["height"]) for box in places]

    before = {}
    for width in (390, 1366):
        page.set_viewport_size({"width": width, "height": 844})
        before[width] = boxes()
    form.get_by_label("Username").fill("nobody-with-this-very-long-name-here")
    form.get_by_role("button", name="Add").click()
    expect(form.locator(".field-error")).to_be_visible()
    for width, places in before.items():
        page.set_viewport_size({"width": width, "height": 844})
        assert boxes() == places
        assert len({y for _, y, _, _ in places}) == 1


@pytest.mark.slow
def test_the_api_reference_is_interactive(work: Desk, logged_in: As) -> None:
    page = logged_in(work.people["owner"])
    page.goto("/api/docs")
    expect(page.locator(".opblock")).not_to_have_count(0, timeout=30_000)
    # What writes goes through: the page sends the session's CSRF token.
    page.get_by_text("Open the next document").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_placeholder("slug").fill("desk")
    page.locator(".body-param__text").fill("{}")
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")


@pytest.mark.slow
def test_a_text_is_found_and_erased(work: Desk, logged_in: As) -> None:
    page = logged_in(work.people["owner"])
    page.goto("/p/desk/settings/")
    page.get_by_role("link", name="Erase personal data").click()
    name = Document.objects.get().external_id
    page.get_by_label("Text").fill(name)
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#found-title")).to_be_visible()
    check(page, "erasure-found")
    page.get_by_role("button", name="Erase for good").click()
    expect(page.locator("#reports-title")).to_be_visible()
    page.locator("summary", has_text="owner").last.click()
    check(page, "erasure-report")
    assert not Document.objects.exists()


def test_a_project_is_archived_and_restored(work: Desk, logged_in: As) -> None:
    page = logged_in(work.people["owner"])
    page.goto("/p/desk/settings/")
    page.get_by_role("button", name="Archive project").click()
    expect(page.locator("#read-only")).to_be_visible()
    check(page, "settings-archived")
    page.goto("/")
    page.get_by_role("link", name="Archived projects").click()
    check(page, "projects-archived")
    page.get_by_role("link", name="Desk").click()
    expect(page.locator("#read-only")).to_be_visible()
    page.get_by_role("link", name="Settings").last.click()
    page.get_by_role("button", name="Restore project").click()
    expect(page.get_by_role("button", name="Archive project")).to_be_visible()
    expect(page.locator("#read-only")).to_have_count(0)


def test_outgoing_connections(work: Desk, logged_in: As) -> None:
    webhooks.create(
        project=work.project, user=work.people["owner"], url="http://127.0.0.1:9/hook", events=["dataset.frozen"]
    )
    page = logged_in(work.people["owner"])
    page.goto("/p/desk/settings/")
    page.get_by_role("link", name="Outgoing connections").click()
    row = page.get_by_role("row", name=re.compile("Webhook"))
    expect(row).to_contain_text("127.0.0.1")
    check(page, "outgoing")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("127.0.0.1:9")
