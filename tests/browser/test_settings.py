"""Settings, tokens, webhooks and the API reference: no inline scripts or styles, light and dark."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from labeling.integrations import deliveries, tokens, webhooks
from labeling.models import ApiToken, WebhookDelivery
from tests.browser.accessibility import check
from tests.browser.conftest import Watch
from tests.labeling.desk import Desk, bring_in, invoice, make_desk


@pytest.fixture
def work(transactional_db: None, queues: None, settings: Any) -> Desk:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    work = make_desk()
    bring_in(work.project, [invoice(1, gold=False)])
    return work


@pytest.mark.slow
def test_the_pages_are_accessible(work: Desk, logged_in: Callable[[Any], Page]) -> None:
    hook = webhooks.create(
        project=work.project,
        user=work.people["owner"],
        url="http://127.0.0.1:9/hook",
        events=["document.submitted", "dataset.frozen", "evaluation.completed", "gate_report.created"],
    )
    verdicts = [{"key": "schema-valid", "title": "At least 99% schema-valid", "verdict": "NOT PROVEN"}]
    deliveries.send([hook.pk], "gate_report.created", {"report": 3, "verdict": "NOT PROVEN", "gates": verdicts})
    for number in range(3):
        deliveries.send_test(webhook=hook, user=work.people["owner"])
        tokens.create(
            project=work.project, user=work.people["owner"], name=f"import {number}", scopes=["read", "import"], days=90
        )
    delivered, given_up = WebhookDelivery.objects.order_by("pk")[:2]
    error = "The response was 500; a 2xx status is required."
    WebhookDelivery.objects.filter(pk=given_up.pk).update(status="given_up", attempts=7, error=error, milliseconds=120)
    WebhookDelivery.objects.filter(pk=delivered.pk).update(
        status="delivered", attempts=1, response_code=200, milliseconds=12
    )
    page = logged_in(work.people["owner"])
    page.goto("/p/desk/settings/")
    page.get_by_text("Permissions of the roles").click()
    check(page, "settings")
    page.goto("/p/desk/tokens/")
    page.get_by_label("Name").fill("nightly")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#made-token")).to_have_value(re.compile("slm_"))
    check(page, "tokens")
    page.goto(f"/p/desk/settings/webhooks/{hook.pk}/")
    page.get_by_text("Show the secret").click()
    data = page.locator(f"#data-{delivered.pk}")
    data.get_by_text("Data").click()
    expect(data.locator("pre")).to_contain_text('"verdict": "NOT PROVEN"')
    check(page, "webhook")
    page.goto("/p/desk/settings/webhooks/add/")
    expect(page.get_by_role("group", name="Gates and approval").get_by_role("checkbox")).to_have_count(4)
    check(page, "webhook-new")
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("add/", f"{hook.pk}/"):
        page.goto(f"/p/desk/settings/webhooks/{path}")
        check(page, f"webhook-{path[:-1]}-390")


def test_a_token_is_shown_once(work: Desk, logged_in: Callable[[Any], Page], live_server: LiveServer) -> None:
    page = logged_in(work.people["annotator"])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=live_server.url)
    page.goto("/p/desk/tokens/")
    page.get_by_label("Name").fill("my program")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#made-title")).to_be_focused()
    shown = page.locator("#made-token").input_value()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("() => navigator.clipboard.readText()") == shown
    assert tokens.authenticate(shown) is not None
    page.reload()
    expect(page.locator("#made-token")).to_have_count(0)
    assert ApiToken.objects.count() == 1
    page.get_by_role("button", name=re.compile("Revoke my program")).click()
    expect(page.get_by_text("was revoked")).to_be_visible()
    assert tokens.authenticate(shown) is None


def test_errors_are_shown_at_their_field(work: Desk, logged_in: Callable[[Any], Page], watch: Watch) -> None:
    watch.allow("422")
    page = logged_in(work.people["annotator"])
    page.goto("/p/desk/tokens/")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator(".field-error")).to_have_text("This field is required.")
    check(page, "tokens-wrong")


@pytest.mark.parametrize("width", [1366, 390])
def test_an_error_at_a_member_moves_no_control(
    work: Desk, logged_in: Callable[[Any], Page], watch: Watch, width: int
) -> None:
    watch.allow("422")
    page = logged_in(work.people["owner"])
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("/p/desk/settings/")
    form = page.locator("form[action$='/members/add/#members']")
    controls = form.locator("input.form-control, select, button")

    def boxes() -> list[tuple[float, ...]]:
        found = [box for control in controls.all() if (box := control.bounding_box())]
        top = found[0]["y"]
        return [(box["x"], box["y"] - top, box["width"], box["height"]) for box in found]

    before = boxes()
    form.get_by_label("Username").fill("nobody-with-this-very-long-name-here")
    form.get_by_role("button", name="Add").click()
    expect(form.locator(".field-error")).to_be_visible()
    assert boxes() == before
    assert len({y for _, y, _, _ in before}) == 1


def test_an_owner_changes_a_role_and_removes_a_member(work: Desk, logged_in: Callable[[Any], Page]) -> None:
    page = logged_in(work.people["owner"])
    page.goto("/p/desk/settings/")
    page.get_by_label("Role of desk-annotator", exact=True).select_option("reviewer")
    page.get_by_role("button", name="Save the role of desk-annotator").click()
    expect(page.get_by_text("desk-annotator now has the role reviewer.")).to_be_visible()
    row = page.get_by_role("row", name=re.compile("desk-manager"))
    row.get_by_text("Remove", exact=True).click()
    row.get_by_role("button", name="Remove from the project").click()
    expect(page.get_by_text("desk-manager was removed from the project.")).to_be_visible()


@pytest.mark.slow
def test_the_delivery_log_updates(work: Desk, logged_in: Callable[[Any], Page]) -> None:
    hook = webhooks.create(
        project=work.project, user=work.people["owner"], url="http://127.0.0.1:9/hook", events=["dataset.frozen"]
    )
    page = logged_in(work.people["owner"])
    page.goto(f"/p/desk/settings/webhooks/{hook.pk}/")
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator("#log")).to_contain_text(re.compile("Queued|Retrying"))
    deliveries.deliver(WebhookDelivery.objects.get().pk)
    expect(page.locator("#log")).to_contain_text("cannot be reached")


@pytest.mark.slow
def test_the_api_reference_is_interactive(work: Desk, logged_in: Callable[[Any], Page]) -> None:
    page = logged_in(work.people["owner"])
    page.goto("/api/docs")
    expect(page.locator(".opblock")).not_to_have_count(0, timeout=30_000)
    # Swagger UI nests a button in what is one already.
    check(page, "reference", known=("nested-interactive",))
    page.get_by_text("Get the progress").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_placeholder("slug").fill("desk")
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    # What writes goes through too: the page sends the session's CSRF token.
    page.goto("/api/docs")
    page.get_by_text("Open the next document").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_placeholder("slug").fill("desk")
    page.locator(".body-param__text").fill("{}")
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
