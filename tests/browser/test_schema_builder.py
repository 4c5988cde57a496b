"""The schema builder: a schema without JSON, with keys alone, in step with the JSON editor."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.test import Client
from playwright.sync_api import Locator, Page, expect

from labeling.models import SchemaVersion
from slmstudio.accounts.global_permissions import GROUP
from slmstudio.contract.json_text import dumps, loads
from tests.browser.accessibility import check
from tests.browser.conftest import As, Watch
from tests.browser.forms import use_schema
from tests.browser.test_form_drafts import log_in
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk

START = '{"type": "object", "additionalProperties": false, "properties": {"invoice_number": {"type": "string"}}}'


@pytest.fixture
def page(desk: Desk, logged_in: As) -> Page:
    page = logged_in(desk.owner)
    page.on("dialog", lambda dialog: dialog.accept())  # leaving with unsaved changes asks
    return opened(page)


def opened(page: Page) -> Page:
    page.goto("/p/desk/contract/")
    expect(page.locator("#contract-form")).to_have_attribute("data-ready", "1")
    return page


def editor(page: Page) -> Locator:
    return page.get_by_role("textbox", name="JSON Schema")


def put(page: Page, text: str) -> None:
    """Pastes over the whole JSON."""
    page.get_by_role("button", name="JSON", exact=True).click()
    editor(page).press("Control+a")
    editor(page).evaluate(
        """(element, text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            element.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }""",
        text,
    )


def schema(page: Page) -> Any:
    return loads(page.locator("textarea[name=schema]").input_value())


def names(page: Page) -> list[str]:
    return [box.input_value() for box in page.locator("[data-part=name]").all()]


def name(page: Page, text: str) -> Locator:
    return page.get_by_label(f"Name of the field {text}", exact=True)


def focused(page: Page) -> Locator:
    return page.locator(":focus")


def save(page: Page) -> Any:
    page.keyboard.press("Control+s")
    expect(page.locator("#messages")).to_contain_text("Saved.")
    newest = SchemaVersion.objects.latest("number")
    return loads(newest.schema_text)


def test_an_invoice_with_keys_alone(page: Page) -> None:
    put(page, START)
    name(page, "invoice_number").focus()
    keys = page.keyboard
    keys.press("Enter")
    for typed in ("Date", "Due date", "Currency"):
        keys.type(typed)
        keys.press("Enter")
        expect(focused(page)).to_have_attribute("data-part", "values" if typed == "Currency" else "name")
    keys.press("Control+a")
    keys.type("EUR\nCHF")
    keys.press("Escape")
    expect(name(page, "currency")).to_be_focused()
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Space")  # required
    keys.press("Enter")
    keys.type("Line items")
    keys.press("Enter")
    for typed in ("Description", "Amount"):
        keys.type(typed)
        keys.press("Enter")
    expect(focused(page)).to_have_value("field")
    keys.press("Enter")  # a field without a name: out of the table
    keys.type("Total")
    keys.press("Tab")
    page.get_by_title("Add the rule due_date >= date").press("Enter")
    page.get_by_title("Add the rule sum(line_items[].amount) == total").press("Enter")
    saved = save(page)
    money = {"type": "number", "multipleOf": loads("0.01"), "x-slm": {"kind": "money"}}
    assert saved["required"] == ["currency"]
    assert list(saved["properties"]) == ["invoice_number", "date", "due_date", "currency", "line_items", "total"]
    assert saved["properties"]["due_date"] == {"type": "string", "format": "date"}
    assert saved["properties"]["currency"] == {"type": "string", "enum": ["EUR", "CHF"]}
    assert saved["properties"]["line_items"]["items"]["properties"] == {
        "description": {"type": "string"}, "amount": money,
    }  # fmt: skip
    assert saved["properties"]["total"] == money
    assert saved["x-slm"]["invariants"] == ["due_date >= date", "sum(line_items[].amount) == total"]
    page.get_by_role("button", name="Form preview").click()
    check(page, "builder")


@pytest.mark.slow
def test_moves_renames_and_undo(page: Page) -> None:
    before = schema(page)
    name(page, "line_items, amount").fill("net")
    page.keyboard.press("Tab")
    assert schema(page)["x-slm"]["invariants"][0] == "sum(line_items[].net) == subtotal"
    assert schema(page)["properties"]["line_items"]["items"]["required"] == ["description", "net"]
    name(page, "tax").focus()
    page.keyboard.press("Alt+ArrowUp")
    assert list(schema(page)["properties"])[-3:] == ["tax", "subtotal", "total_amount"]
    page.keyboard.press("Alt+ArrowUp")
    page.keyboard.press("Alt+ArrowDown")
    page.keyboard.press("Alt+Shift+ArrowRight")
    assert list(schema(page)["properties"]["line_items"]["items"]["properties"])[-1] == "tax"
    expect(name(page, "line_items, tax")).to_be_focused()
    page.keyboard.press("Alt+Shift+ArrowLeft")
    handle = page.locator("li.builder-field", has=name(page, "vendor")).locator(".builder-handle")
    handle.drag_to(name(page, "invoice_id"), target_position={"x": 40, "y": 3})
    assert next(iter(schema(page)["properties"])) == "vendor"
    name(page, "vendor").focus()
    for _ in range(7):
        page.keyboard.press("Control+z")
    assert dumps(schema(page)) == dumps(before)
    assert names(page)[0] == "invoice_id"
    name(page, "date").fill("vendor")
    page.keyboard.press("Tab")
    expect(page.locator(".builder-name-error")).to_be_visible()
    assert dumps(schema(page)) == dumps(before)


@pytest.mark.slow
def test_the_json_keeps_what_the_builder_does_not_show(page: Page) -> None:
    row = '{"type": "object", "properties": {"7": {"type": "number", "default": 1.50}, "2": {"type": "string"}}}'
    text = (
        f'{{"type": "object", "$defs": {{"Line": {row}}}, "minProperties": 1, "properties": {{'
        '"a": {"type": "string", "minLength": 2, "$comment": "x"},'
        '"rows": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/Line"}},'
        '"either": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}'
    )
    put(page, text)
    assert names(page) == ["a", "rows", "7", "2", "either"]
    name(page, "a").fill("b")
    page.keyboard.press("Alt+Enter")
    expect(page.locator(".builder-details .builder-others")).to_contain_text("$comment")
    expect(page.locator(".builder-document .builder-others")).to_contain_text("minProperties")
    page.locator(".builder-details [data-part=description]").fill("A <b>text</b>")
    expect(editor(page)).to_contain_text("A <b>text</b>")
    changed = schema(page)
    assert changed["properties"].pop("b") == {
        "type": "string", "minLength": 2, "$comment": "x", "description": "A <b>text</b>",
    }  # fmt: skip
    wanted = loads(text)
    del wanted["properties"]["a"]
    assert dumps(changed) == dumps(wanted)
    assert "1.50" in page.locator("textarea[name=schema]").input_value()

    put(page, '{"type": "object",\n "properties": {"a": {"type": "string",}}}')
    expect(page.locator("#builder-stale")).to_be_visible()
    expect(page.locator(".cm-lint-marker-error")).to_have_count(1)
    put(page, '{"type": "object", "properties": {\n"a": {"type": "string"},\n"b": {"type": "number", "emum": [1]}}}')
    problem = page.locator("li.builder-field", has=name(page, "b")).locator(".builder-problem")
    expect(problem).to_contain_text("enum")
    expect(page.locator(".cm-lint-marker-error")).to_have_count(1)
    put(page, '{"type": "object", "properties": {"a": {"type": "str')
    page.keyboard.press("Control+End")
    page.keyboard.type("i")
    page.get_by_role("option", name="string").click()
    expect(editor(page)).to_contain_text('"type": "string"')


@pytest.mark.slow
def test_a_schema_from_examples_and_its_draft_after_the_session(desk: Desk, page: Page, watch: Watch) -> None:
    watch.allow("422 POST /p/desk/contract/draft/")
    page.get_by_role("button", name="Create from…").click()
    page.get_by_label("Text", exact=True).fill("class Invoice(BaseModel):\n    x: int\n")
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator("#draft-error")).to_contain_text("model_json_schema")
    page.get_by_label("Text", exact=True).fill(
        '{"id": "A-1", "due": "2026-01-31", "lines": [{"net": 1.5}]}\n{"id": "A-2", "lines": []}'
    )
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.locator(".builder-reason", has_text="1 of 2")).to_have_count(1)
    assert names(page) == ["id", "due", "lines", "net"]
    with page.expect_response("**/contract/preview/"):
        page.get_by_label("Type of net").select_option("integer")
    assert schema(page)["properties"]["lines"]["items"]["properties"] == {"net": {"type": "integer"}}
    name(page, "due").fill("due_date")
    Session.objects.all().delete()
    page.keyboard.press("Control+s")
    expect(page).to_have_url(re.compile("/login/"))
    log_in(page, "", desk)
    expect(page.locator(".form-draft")).to_contain_text("Your session expired")
    expect(name(page, "due_date")).to_be_visible()
    saved = save(page)
    assert list(saved["properties"]) == ["id", "due_date", "lines"]
    assert saved["properties"]["lines"]["items"]["properties"] == {"net": {"type": "integer"}}
    assert '"due": "2026-01-31"' in desk.project.schema_versions.latest("number").source_text
    page.reload()
    expect(page.locator(".form-draft")).to_have_count(0)


@pytest.mark.slow
def test_maps_fixed_lists_forms_and_recursion(page: Page) -> None:
    card = {"type": "object", "properties": {"last4": {"type": "string"}}}
    put(
        page,
        dumps(
            {
                "type": "object",
                "properties": {
                    "rates": {"type": "object", "additionalProperties": {"type": "number"}},
                    "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}], "items": False},
                    "pay": {"oneOf": [card, {"$ref": "#/$defs/bank"}, {"type": "null"}]},
                    "parent": {"$ref": "#"},
                },
                "$defs": {"bank": {"title": "Bank", "type": "object", "properties": {"iban": {"type": "string"}}}},
            }
        ),
    )
    types = [page.get_by_label(f"Type of {field}", exact=True) for field in ("rates", "pair", "pay", "parent")]
    for control, type_ in zip(types, ("map", "tuple", "union", "other"), strict=True):
        expect(control).to_have_value(type_)
    assert names(page) == ["rates", "pair", "pay", "last4", "iban", "parent"]
    page.get_by_role("button", name="Details of rates").click()
    page.get_by_label("Each value is").select_option("group")
    page.get_by_role("button", name="Add field to rates").click()
    focused(page).fill("amount")
    focused(page).press("Tab")
    page.get_by_role("button", name="Details of rates").click()
    page.get_by_role("button", name="Details of pair").click()
    page.get_by_role("button", name="Add value").click()
    page.get_by_label("Type of value 3").select_option("date")
    page.get_by_role("button", name="Details of pair").click()
    page.get_by_role("button", name="Details of pay").click()
    page.get_by_label("Label of form 1").fill("Card")
    page.get_by_role("button", name="Add form").click()
    page.get_by_label("Type of form 3").select_option("boolean")
    expect(page.get_by_role("button", name="Remove form 3")).to_be_enabled()
    name(page, "pay, last4").fill("last_four")
    name(page, "pay, last4").press("Tab")
    name(page, "pay, iban").fill("number")
    name(page, "pay, iban").press("Tab")
    page.get_by_label("Type of parent", exact=True).select_option("tuple")
    saved = save(page)
    text = {"type": "string"}
    assert saved["properties"]["rates"]["additionalProperties"]["properties"]["amount"]["x-slm"] == {"kind": "money"}
    assert saved["properties"]["pair"] == {
        "type": "array",
        "prefixItems": [text, {"type": "number"}, {"type": "string", "format": "date"}],
        "items": False,
        "minItems": 3,
        "maxItems": 3,
    }
    forms = saved["properties"]["pay"]["oneOf"]
    assert (forms[0]["title"], list(forms[0]["properties"])) == ("Card", ["last_four"])
    assert forms[1:] == [{"$ref": "#/$defs/bank"}, {"type": "boolean"}, {"type": "null"}]
    assert list(saved["$defs"]["bank"]["properties"]) == ["number"]
    assert saved["properties"]["parent"]["prefixItems"] == [text, text]
    expect(page.locator("#preview .field-error")).to_have_count(0)


@pytest.mark.slow
def test_rules_are_changed_where_the_focus_is(page: Page) -> None:
    text = {"type": "string"}
    fields = {"date": {**text, "format": "date"}, "sender": text, "recipient": text, "signed": {"type": "boolean"}}
    put(page, dumps({"type": "object", "properties": fields}))

    def rules() -> Any:
        return schema(page).get("x-slm", {}).get("invariants", [])

    add = page.get_by_role("button", name="Add rule")
    add.click()
    assert rules() == ["date <= today()"]
    expect(page.locator(".builder-tolerance")).to_have_count(0)
    add.click()
    left = page.get_by_label("Left side of rule 2")
    expect(left).to_be_focused()
    left.select_option("sender")
    assert rules() == ["date <= today()", "sender != recipient"]
    right = page.get_by_label("Right side of rule 2")
    assert right.locator("option").evaluate_all("all => all.map(o => o.value)") == ["recipient", ""]
    right.select_option("")
    expect(page.get_by_label("Rule 2", exact=True)).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("signed == true or sender != recipient")
    page.get_by_label("Message of rule 1").fill("The date is in the future.")
    expect(editor(page)).to_contain_text("in the future")
    assert rules() == [
        {"rule": "date <= today()", "message": "The date is in the future."}, "signed == true or sender != recipient",
    ]  # fmt: skip
    page.get_by_label("Remove rule 2").click()
    expect(page.get_by_label("Left side of rule 1")).to_be_focused()
    page.get_by_label("Message of rule 1").fill("")
    page.get_by_label("Right side of rule 1").select_option("")
    page.get_by_label("Rule 1", exact=True).fill("date <= yesterday")
    expect(page.locator(".builder-rule .builder-problem")).to_contain_text("yesterday")
    page.get_by_label("Remove rule 1").click()
    expect(add).to_be_focused()
    assert rules() == []


@pytest.mark.slow
def test_a_blank_project_is_built_from_its_first_box(desk: Desk, logged_in: As) -> None:
    desk.owner.groups.add(Group.objects.get(name=GROUP))
    page = logged_in(desk.owner)
    page.goto("/")
    page.get_by_role("link", name="New project", exact=True).click()
    expect(page.get_by_label("Name", exact=False).first).to_be_focused()
    page.keyboard.type("Delivery notes")
    page.get_by_role("radio", name="Blank").check()
    page.keyboard.press("Enter")
    expect(page.locator("#contract-form")).to_have_attribute("data-ready", "1")
    expect(focused(page)).to_have_value("field")
    for typed in ("SKU", "Note number", "Signed", "unitPrice", "VAT ID", "Status"):
        page.keyboard.type(typed)
        page.keyboard.press("Enter")
    page.keyboard.type("open\nclosed")  # instead of the values of a new choice
    page.keyboard.press("Escape")
    page.get_by_label("Title of the document").fill("Delivery note")
    saved = save(page)
    assert list(saved["properties"]) == ["sku", "note_number", "signed", "unitPrice", "vat_id", "status"]
    assert saved["title"] == "Delivery note"
    assert saved["properties"]["sku"] == {"type": "string", "title": "SKU"}
    assert saved["properties"]["note_number"] == {"type": "string"}
    assert saved["properties"]["signed"] == {"type": "boolean"}
    assert saved["properties"]["status"]["enum"] == ["open", "closed"]
    for number in range(6, 0, -1):
        expect(page.locator("[data-part=name]")).to_have_count(number)
        page.locator("[data-part=remove]").first.click()
    expect(page.locator("[data-schema-error]")).to_be_visible()
    expect(page.get_by_role("heading", name="Translated")).to_have_count(0)


@pytest.mark.slow
def test_splitting_a_field_asks_for_an_expression(desk: Desk, logged_in: As) -> None:
    text = {"type": "string"}
    use_schema(desk, object_schema({"address": text, "total": {"type": "number"}}))
    client = Client()
    client.force_login(desk.owner)
    changed = dumps(object_schema({"street": text, "city": text, "total": {"type": "number"}}))
    contract = client.get("/p/desk/contract/").context["form"]
    posted = {name: contract[name].value() or "" for name in contract.fields} | {"schema": changed}
    page = logged_in(desk.owner)
    page.goto(client.post("/p/desk/contract/migrations/plan/", posted)["Location"])
    choice = page.locator("select[data-removed]")
    expression = page.get_by_label("expression with a named group")
    expect(choice).to_have_value("drop")
    expect(expression).to_be_hidden()
    choice.select_option("split")
    expect(expression).to_be_visible()
    choice.select_option("to:city")
    expect(expression).to_be_hidden()
