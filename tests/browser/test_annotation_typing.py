"""Typed values end up in their field, at any speed and latency."""

import json
import os
from random import Random
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from labeling.models import Annotation
from slmstudio.contract.json_text import dumps
from tests.browser.conftest import Open
from tests.browser.forms import use_schema
from tests.browser.labeling import all_saved, control, select
from tests.browser.typist import CONTROLS, SHEET, Hand, Rhythm, Sheet, fill, presses, slow_network, together, types
from tests.labeling.label_desk import Desk, make_desk

#: pages at once in the long run
HANDS = 8

#: ms a key
SPEEDS = (60, 140)
INVOICE = """Bradley Ltd

No      INV-8722
Date    08/27/2024
Total   1,100.82
"""
TITLES = ("Invoice number", "Invoice date", "Vendor", "Total amount")
VALUES = ("INV-8722", "08/27/2024", "Bradley Ltd", "1,100.82")


@pytest.fixture
def invoices(transactional_db: None) -> Desk:
    return make_desk("invoice")


def by_hand(page: Page, delay: float) -> Hand:
    for value in VALUES:
        yield from types(page, value, delay)
        yield from presses(page, "Tab", delay=delay)


def by_completion(page: Page, delay: float) -> Hand:
    for value in VALUES:
        yield from types(page, value[:2], delay)
        yield from presses(page, "End", "Tab", delay=delay)


def test_values_are_typed_into_their_fields_at_any_speed(invoices: Desk, open_label: Open) -> None:
    hands = [(way, speed) for way in (by_hand, by_completion) for speed in SPEEDS]
    documents = [invoices.document(f"{INVOICE}{number}") for number, _ in enumerate(hands)]
    pages = [open_label(invoices.ana, document) for document in documents]
    together([way(page, speed) for page, (way, speed) in zip(pages, hands, strict=True)], pages[0])
    typed = {
        hand: [control(page, title).input_value() for title in TITLES] for page, hand in zip(pages, hands, strict=True)
    }
    assert typed == {hand: list(VALUES) for hand in hands}
    for page, document in zip(pages, documents, strict=True):
        all_saved(page)
        value = Annotation.objects.get(document=document).value
        assert [str(value[name]) for name in ("invoice_id", "date", "vendor", "total_amount")] == [
            "INV-8722",
            "2024-08-27",
            "Bradley Ltd",
            "1100.82",
        ]
        assert page.locator("[data-confirm]").count() == 0


@pytest.mark.slow
def test_fields_of_every_kind_over_a_slow_network(desk: Desk, open_label: Open) -> None:
    """``TYPED_FIELDS=1000`` types that many, ``TYPED_SEED`` other ones; docs/benchmarks.md has the command."""
    use_schema(desk, SHEET)
    seed, wanted = int(os.environ.get("TYPED_SEED", "1")), int(os.environ.get("TYPED_FIELDS", "0"))
    hands = HANDS if wanted else 2
    size = 2 if wanted else 1
    random = Random(seed)
    count = max(hands, -(-wanted // len(Sheet(Random(0), size, size).shown)))
    sheets = [Sheet(random, size, size) for _ in range(count)]
    documents = [desk.document(f"{sheet.text}\n\n[{number}]") for number, sheet in enumerate(sheets)]
    pages = [open_label(desk.ana, documents[number]) for number in range(hands)]
    misplaced: list[str] = []

    def work(hand: int) -> Hand:
        page, rhythm = pages[hand], Rhythm(Random(seed * 100 + hand))
        for number in range(hand, len(sheets), hands):
            if number != hand:
                page.goto(reverse("label_document", args=["desk", documents[number].pk]))
                expect(page.locator("#strip")).to_contain_text("left for you")
            slow_network(page, seed * 1000 + number)
            yield from fill(page, sheets[number], rhythm)
            while page.locator("#saved[data-state=saved]").count() == 0:
                yield 200
            shown, stored = page.evaluate(CONTROLS), Annotation.objects.get(document=documents[number]).value
            misplaced.extend(f"{number} {wrong}" for wrong in differences(sheets[number], shown, stored))

    together([work(hand) for hand in range(hands)], pages[0])
    total = sum(len(sheet.shown) for sheet in sheets)
    print(f"{total} fields typed, {len(misplaced)} misplaced")
    assert misplaced == []


def differences(sheet: Sheet, shown: dict[str, str], stored: dict[str, Any]) -> list[str]:
    """The fields whose control, or whose stored value, is not what was typed."""
    wrong = [
        f"{path}: {shown.get(path)!r} instead of {sheet.shown.get(path)!r}"
        for path in {*shown, *sheet.shown}
        if shown.get(path, "") != sheet.shown.get(path, "")
    ]
    exact = json.loads(dumps(stored))
    return [*wrong, *([] if exact == sheet.value else [f"stored {exact} instead of {sheet.value}"])]


def test_what_was_typed_stays_with_its_document(invoices: Desk, open_label: Open) -> None:
    """Next, previous, Back and Forward in the middle of a label."""
    documents = [invoices.document(f"{INVOICE}{number}") for number in range(3)]
    page = open_label(invoices.ana, documents[0])
    number, date = control(page, "Invoice number"), control(page, "Invoice date")

    def shows(index: int) -> None:
        expect(page.locator("#document-name")).to_have_text(documents[index].external_id)
        expect(page.locator("#form :focus")).to_have_count(1)

    page.keyboard.type("INV-1")
    for key, index in (("Alt+n", 1), ("Alt+n", 2), ("Alt+p", 1)):
        page.keyboard.press(key)
        shows(index)
        if not number.input_value():
            page.keyboard.type(f"INV-{index}")
    page.go_back()
    shows(2)
    expect(date).to_be_focused()  # the first empty one
    select(page, "08/27/2024", "08/27/2024")
    page.go_forward()
    shows(1)
    for index in (2, 0):  # the one seen before, then the one before that
        page.keyboard.press("Alt+p")
        shows(index)
    page.keyboard.type("08/27")
    page.keyboard.press("End")
    page.keyboard.press("Control+s")
    all_saved(page)
    values = [Annotation.objects.get(document=document).value for document in documents]
    day = {"date": "2024-08-27"}
    assert values == [{"invoice_id": "INV-1", **day}, {"invoice_id": "INV-1"}, {"invoice_id": "INV-2", **day}]
