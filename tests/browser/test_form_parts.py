"""Forms of any schema: long choices, alternative forms, maps, tuples, groups, JSON."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from labeling.models import Annotation
from tests.browser.accessibility import check
from tests.browser.conftest import Open, Watch
from tests.browser.forms import CLASSES, EVERYTHING, INTENTS, use_schema
from tests.browser.labeling import all_saved, control
from tests.contract.samples import object_schema
from tests.labeling.label_desk import Desk


def value_of(page: Page) -> Any:
    """What is saved, once everything is."""
    page.keyboard.press("Control+s")
    all_saved(page)
    return Annotation.objects.get().value


def settled(page: Page) -> None:
    """Nothing that was typed is left unsaved: a save after the test would be a row of the next one."""
    expect(page.locator("#saved")).to_have_attribute("data-state", re.compile("^(saved|empty)$"))


def part(page: Page, title: str) -> Locator:
    return page.locator(f'#form [data-title="{title}"]').first


@pytest.fixture
def classes(desk: Desk, open_label: Open) -> Iterator[Page]:
    use_schema(desk, CLASSES)
    page = open_label(desk.ana, desk.document("Please stop the transfer I made."))
    yield page
    settled(page)


@pytest.fixture
def everything(desk: Desk, open_label: Open) -> Iterator[Page]:
    use_schema(desk, EVERYTHING)
    page = open_label(desk.ana, desk.document("Paid by card 4711, tags red and blue."))
    yield page
    settled(page)


def test_a_long_choice_by_keys_and_mouse(classes: Page) -> None:
    box = control(classes, "Intent")
    expect(box).to_be_focused()
    expect(box).to_have_attribute("role", "combobox")
    classes.keyboard.press("ArrowDown")
    expect(box).to_have_attribute("aria-expanded", "true")
    expect(classes.locator("#combo-list [role=option]")).to_have_count(len(INTENTS))
    classes.keyboard.press("ArrowDown")
    classes.keyboard.press("Tab")
    expect(box).to_have_value(INTENTS[1])
    expect(box).not_to_be_focused()
    box.fill("refund")
    classes.keyboard.press("Escape")
    expect(box).to_have_value(INTENTS[1])
    expect(box).to_have_attribute("aria-expanded", "false")
    box.fill("stop the transfer")
    expect(classes.locator("#combo-list")).to_contain_text("No matching choice")
    classes.locator("#flag-button").focus()
    expect(part(classes, "Intent").locator(".sf-message-problem")).to_contain_text("must be one of")
    expect(box).to_have_value("stop the transfer")
    box.fill("")
    classes.locator("#flag-button").focus()
    assert value_of(classes) == {}
    box.focus()
    classes.keyboard.type("transfer can")
    options = classes.locator("#combo-list [role=option]")
    expect(options).to_have_count(1)
    expect(options.first).to_have_attribute("aria-selected", "true")
    expect(options.first).to_contain_text("They want to cancel a transfer.")
    expect(box).to_have_attribute("aria-activedescendant", options.first.get_attribute("id") or "")
    classes.keyboard.press("Enter")
    expect(box).to_have_value("cancel a transfer")
    expect(classes.locator("#combo-list")).to_be_hidden()
    assert value_of(classes) == {"intent": "cancel a transfer"}
    control(classes, "Intent").click()
    classes.locator("#combo-list [role=option]").nth(4).click()
    expect(control(classes, "Intent")).to_have_value(INTENTS[4])
    expect(control(classes, "Intent")).to_be_focused()


def test_forms_tuples_and_groups(everything: Page) -> None:
    page = everything
    paid = part(page, "Paid")
    paid.locator('[data-title="Number"] [data-control]').fill("4711")
    paid.locator('[data-title="Note"] [data-control]').fill("twice")
    assert value_of(page)["paid"] == {"by": "card", "number": "4711", "note": "twice"}
    paid.locator(".sf-switch", has_text="bank").click()
    expect(paid.locator('[data-title="Iban"]')).to_be_visible()
    expect(paid.locator('[data-title="Note"] [data-control]')).to_have_value("twice")
    assert value_of(page)["paid"] == {"by": "bank", "note": "twice"}
    page.keyboard.press("Control+z")
    expect(paid.locator('[data-title="Number"] [data-control]')).to_have_value("4711")
    expect(paid.locator(".sf-switch input").first).to_be_checked()
    assert value_of(page)["paid"] == {"by": "card", "number": "4711", "note": "twice"}
    amount = part(page, "Amount")
    amount.locator(".sf-switch", has_text="Text").click()
    amount.locator("[data-branch] [data-control]").fill("12.50")
    parts = part(page, "Parts")
    parts.locator("[data-add-row]").click()
    parts.locator(".sf-switch", has_text="bank").click()
    parts.locator('[data-title="Iban"] [data-control]').fill("DE1")
    value = value_of(page)
    assert (value["amount"], value["parts"]) == ("12.50", [{"by": "bank", "iban": "DE1"}])
    amount.locator(".sf-switch", has_text="Number").click()
    assert str(value_of(page)["amount"]) == "12.50"
    page.reload()
    expect(part(page, "Amount").locator("[data-branch] [data-control]")).to_have_value("12.50")
    expect(part(page, "Parts").locator(".sf-switch input").nth(1)).to_be_checked()
    place = part(page, "Place")
    place.locator('[data-title="Item 2"] [data-control]').fill("8.5")
    page.keyboard.press("Tab")
    expect(place.locator('[data-title="Item 1"] .sf-message-problem')).to_contain_text("is empty")
    place.locator('[data-title="Item 1"] [data-control]').fill("47.25")
    buyer = part(page, "Buyer")
    buyer.locator('[data-title="Name"] [data-control]').first.fill("Acme")
    buyer.locator('[data-title="More"] [data-add-row]').click()
    page.keyboard.type("city")
    page.keyboard.press("Tab")
    page.keyboard.type("Ulm")
    value = value_of(page)
    assert [str(number) for number in value["place"]] == ["47.25", "8.5"]
    assert value["buyer"] == {"name": "Acme", "kind": "company", "city": "Ulm"}
    buyer = part(page, "Buyer")
    button = buyer.locator("> legend [data-null]")
    buyer.locator('[data-title="Name"] [data-control]').first.fill("Acme")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    assert value_of(page)["buyer"] is None
    page.keyboard.press("Control+z")
    expect(buyer.locator('[data-title="Name"] [data-control]').first).to_have_value("Acme")
    expect(button).to_have_attribute("aria-pressed", "false")


def test_maps_and_json_are_edited(everything: Page, watch: Watch) -> None:
    page = everything
    tags = part(page, "Tags")
    tags.locator("[data-add-row]").click()
    page.keyboard.type("red")
    page.keyboard.press("Tab")
    page.keyboard.type("3")
    assert value_of(page)["tags"] == {"red": 3}
    tags.locator("[data-add-row]").click()
    page.keyboard.type("red")
    page.keyboard.press("Tab")
    page.keyboard.type("x")
    page.keyboard.press("Tab")
    expect(tags.locator(".sf-message-problem").first).to_contain_text("another row is already named red")
    assert value_of(page)["tags"] == {"red": 3, "red (2)": "x"}
    tags.locator("[data-key=key] [data-control]").nth(1).fill("blue sky")
    page.keyboard.press("Tab")
    expect(tags.locator('[data-key="value"] .sf-message-problem')).to_contain_text("must be a whole number")
    tags.locator("[data-delete-row]").nth(1).click()
    assert value_of(page)["tags"] == {"red": 3}
    anything = part(page, "Anything")
    expect(anything).to_contain_text("Edited as JSON: it can have any type.")
    anything.locator("textarea").fill('{"price": 1248.50, "id": 12345678901234567890}')
    anything.locator("[data-editor]").click()
    frame = page.frame_locator(".editor-frame")
    expect(frame.locator(".jse-tree-mode")).to_be_visible(timeout=30_000)
    expect(frame.locator("#editor")).to_contain_text("1248.50")
    expect(frame.locator("#editor")).to_contain_text("12345678901234567890")
    frame.locator(".jse-key", has_text="price").dblclick()
    page.keyboard.press("Control+a")
    page.keyboard.type("cost")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Apply").click()
    expect(anything.locator("textarea")).to_have_value('{\n  "cost": 1248.50,\n  "id": 12345678901234567890\n}')
    value = value_of(page)["anything"]
    assert (str(value["cost"]), value["id"]) == ("1248.50", 12345678901234567890)
    for title in ("Parts", "Grid"):
        part(page, title).locator("[data-add-row]").click()
    check(page, "form-parts")


def test_arrows_in_a_grid_choice_move_between_cells(desk: Desk, open_label: Open) -> None:
    row = object_schema({"name": {"type": "string", "maxLength": 9}, "intent": {"enum": INTENTS}})
    use_schema(desk, object_schema({"rows": {"type": "array", "items": row}}))
    page = open_label(desk.ana, desk.document("Cancel it."))
    page.locator("#form [data-add-row]").click()
    page.locator("#form [data-add-row]").click()
    boxes = page.locator("#form td [data-combo]")
    boxes.nth(0).focus()
    page.keyboard.press("ArrowDown")
    expect(boxes.nth(1)).to_be_focused()
    page.keyboard.type("refund cash")
    page.keyboard.press("Enter")
    expect(boxes.nth(1)).to_have_value("refund cash")
    expect(boxes.nth(1)).to_be_focused()
    page.keyboard.press("Alt+ArrowDown")
    expect(page.locator("#combo-list")).to_be_visible()
    page.keyboard.press("Escape")
    assert value_of(page)["rows"][1] == {"intent": "refund cash"}
