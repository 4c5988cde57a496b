"""The schema migration form asks for an expression only if a field is split."""

from collections.abc import Callable

from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from slmstudio.contract.json_text import dumps
from tests.browser.forms import use_schema
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk


def test_splitting_a_field_asks_for_an_expression(
    desk: Desk, new_page: Callable[[], Page], live_server: LiveServer
) -> None:
    text = {"type": "string"}
    use_schema(desk, object_schema({"address": text, "total": {"type": "number"}}))
    client = Client()
    client.force_login(desk.owner)
    changed = dumps(object_schema({"street": text, "city": text, "total": {"type": "number"}}))
    contract = client.get("/p/desk/contract/").context["form"]
    posted = {name: contract[name].value() or "" for name in contract.fields} | {"schema": changed}
    address = client.post("/p/desk/contract/migrations/plan/", posted)["Location"]
    page = new_page()
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    page.goto(address)
    choice = page.locator("select[data-removed]")
    expression = page.get_by_label("expression with a named group")
    expect(choice).to_have_value("drop")
    expect(expression).to_be_hidden()
    choice.select_option("split")
    expect(expression).to_be_visible()
    choice.select_option("to:city")
    expect(expression).to_be_hidden()
