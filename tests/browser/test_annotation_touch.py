"""A label by touch, on a phone of 390 pixels."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from labeling.models import Annotation
from slmstudio.contract.json_text import dumps
from tests.browser.conftest import TIMEOUT_MS, UnderWay, Watch
from tests.browser.delivery_notes import NOTES, SCHEMA
from tests.browser.forms import use_schema
from tests.browser.labeling import control
from tests.labeling.label_desk import make_desk


@pytest.fixture
def phone(
    browser: Browser, live_server: LiveServer, under_way: UnderWay, watch: Watch
) -> Iterator[Callable[[Any], Page]]:
    """``phone(user)`` is a page of a telephone, in which that person is logged in."""
    contexts = []

    def opened(user: Any) -> Page:
        client = Client()
        client.force_login(user)
        context = browser.new_context(
            base_url=live_server.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True,
            device_scale_factor=2, reduced_motion="reduce",
        )  # fmt: skip
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page = context.new_page()
        watch.attach(page)
        return page

    yield opened
    for context in contexts:
        context.close()


TEXTS = {
    "note_number": "Note number", "date": "Date", "sender": "Sender", "recipient": "Recipient",
    "order_number": "Order number", "remark": "Remark",
}  # fmt: skip


@pytest.mark.slow
def test_a_delivery_note_is_labeled_by_touch(transactional_db: None, phone: Callable[[Any], Page]) -> None:
    desk = make_desk()
    use_schema(desk, SCHEMA)
    note, other = NOTES[2], NOTES[3]
    document, _ = desk.document(note.text, note.name), desk.document(other.text, other.name)
    page = phone(desk.ana)
    page.goto(reverse("label_document", args=["desk", document.pk]))
    expect(page.locator("#strip")).to_contain_text("left")
    for key, title in TEXTS.items():
        box = control(page, title)
        box.tap()
        page.keyboard.insert_text(note.printed[key][:4])
        page.locator(".sf-hint").tap()
        expect(box).to_have_value(note.printed[key])
        expect(box).to_be_focused()
    page.locator("#form [data-title=Direction]").get_by_text(note.value["direction"]).tap()
    page.locator("#form [data-title=Signed] [data-null]").tap()
    for number, row in enumerate(note.rows):
        page.locator("#form [data-title=Items] [data-add-row]").tap()
        cells = page.locator("[data-body] tr").nth(number).locator("[data-control]")
        for column, cell in enumerate(row):
            cells.nth(column).tap()
            page.keyboard.insert_text(str(cell))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("#submit-button").tap()
    expect(page.locator("#document-name")).to_have_text(other.name)
    assert json.loads(dumps(Annotation.objects.get(document=document).value)) == note.value
