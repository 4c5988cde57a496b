"""Text typed into a form survives the end of a session, and is removed after it was saved."""

import re
from collections.abc import Callable

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from tests.browser.conftest import until
from tests.labeling.label_desk import Desk

pytestmark = pytest.mark.slow

#: the page has marked what was being sent as interrupted
DRAFTS_READ = """() => Object.entries(sessionStorage).every(
    ([key, text]) => !key.startsWith("form-draft:") || !JSON.parse(text).sent)"""
WORDS = " And nothing else."


@pytest.fixture
def page(desk: Desk, new_page: Callable[[], Page], live_server: LiveServer) -> Page:
    page = new_page()
    page.on("dialog", lambda dialog: dialog.accept())  # leaving with unsaved changes asks
    return log_in(page, f"{live_server.url}/p/desk/contract/", desk)


def log_in(page: Page, address: str, desk: Desk) -> Page:
    if address:
        page.goto(address)
    page.get_by_label("Username").fill(desk.owner.username)
    page.get_by_label("Password").fill("x")
    until(page, DRAFTS_READ)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("//[^/]+/p/desk/"))  # not the address of the login page, which has it as well
    page.wait_for_load_state()
    return page


def instruction(page: Page) -> str:
    return page.get_by_label("Instruction").input_value()


def test_an_unsent_form_is_offered_or_discarded(page: Page, desk: Desk) -> None:
    before = instruction(page)
    page.get_by_label("Instruction").press_sequentially(WORDS)
    typed = instruction(page)
    page.reload()
    page.get_by_role("button", name="Restore").click()
    assert instruction(page) == typed
    page.reload()
    page.get_by_role("button", name="Discard").click()
    page.reload()
    expect(page.locator(".form-draft")).to_have_count(0)
    assert instruction(page) == before


def test_typing_after_a_restore_is_kept(page: Page) -> None:
    page.get_by_role("button", name="JSON", exact=True).click()
    page.get_by_role("textbox", name="JSON Schema").press("Control+End")
    page.keyboard.type(" ")  # its restore brings a preview
    page.get_by_label("Instruction").press_sequentially(WORDS)
    typed = instruction(page)
    page.reload()
    page.evaluate(
        "document.addEventListener('htmx:afterSettle', () => setTimeout(() => (document.body.dataset.settled = 1)))"
    )
    page.get_by_role("button", name="Restore").click()
    page.get_by_label("Instruction").press("Control+End")
    page.keyboard.type(" More.")
    expect(page.locator("body")).to_have_attribute("data-settled", "1")
    assert instruction(page) == f"{typed} More."


def test_drafts_are_private_to_a_session(page: Page) -> None:
    page.get_by_label("Instruction").press_sequentially(WORDS)
    page.locator(".user-button").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/login/"))
    keys = page.evaluate("Object.keys(sessionStorage).filter((key) => key.startsWith('form-draft:'))")
    assert keys == []
    assert settings.SESSION_COOKIE_NAME not in {cookie.get("name") for cookie in page.context.cookies()}
