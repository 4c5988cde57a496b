"""An invoice schema made in the builder at human speed, keys and clicks counted: ``python -m bench.schema_builder``.

A person without JSON starts from a schema of one field and makes the template *Invoice with line items*: twelve fields,
four of them in a table, a choice, what is required, and the rules of due date and totals. A key takes 60 to 300 ms, a
click 0.7 to 1.5 s, and 1 to 2.5 s of thought precede each field. Once with keys alone, once with the mouse for all but
names, and once from two pasted examples. Everything real: PostgreSQL, the web server, Chromium. The saved schema is
compared with the template; exit code 1 where it differs or a page reported an error.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

from playwright.sync_api import Locator, Page, expect, sync_playwright

from bench.studio import studio
from bench.timing import table

#: name as typed, whether it is required, and the type to choose where the name does not suggest it
Typed = tuple[str, bool, str]
FIELDS: tuple[Typed, ...] = (
    ("Date", True, ""), ("Due date", False, ""), ("Vendor", True, ""), ("Currency", False, ""),
    ("Payment terms", False, ""), ("Line items", True, ""), ("Subtotal", False, ""), ("Tax", False, ""),
    ("Total amount", True, ""),
)  # fmt: skip
COLUMNS: tuple[Typed, ...] = (
    ("Description", True, ""), ("Quantity", False, "Number"), ("Unit price", False, ""), ("Amount", True, ""),
)  # fmt: skip
CURRENCIES = "EUR\nUSD\nGBP\nCHF"
RULES = ["due_date >= date", "sum(line_items[].amount) == subtotal", "subtotal + tax == total_amount"]
EXAMPLES = """{"invoice_id": "A-1", "date": "2026-01-14", "due_date": "2026-02-13", "vendor": "Acme", "currency": "EUR",
 "payment_terms": "Net 30", "line_items": [{"description": "Tea", "quantity": 2, "unit_price": 4.5, "amount": 9.0}],
 "subtotal": 9.0, "tax": 1.71, "total_amount": 10.71}
{"invoice_id": "A-2", "date": "2026-01-15", "vendor": "Bolt", "line_items": [{"description": "Oil", "quantity": 1.5,
 "amount": 3.0}], "total_amount": 3.0}"""
START = (
    '{"type": "object", "additionalProperties": false, "required": ["invoice_id"],'
    ' "properties": {"invoice_id": {"type": "string"}}}'
)


class Person:
    """Types and clicks at human speed and counts."""

    def __init__(self, page: Page, seed: int, speed: float) -> None:
        self.page, self.random, self.speed = page, Random(seed), speed
        self.keys = self.clicks = 0

    def wait(self, low: float, high: float) -> None:
        """A pause, in seconds."""
        self.page.wait_for_timeout(1000 * self.random.uniform(low, high) / self.speed)

    def think(self) -> None:
        """Before a field."""
        self.wait(1, 2.5)

    def press(self, key: str) -> None:
        """One key or chord."""
        self.wait(0.06, 0.3)
        self.page.keyboard.press(key)
        self.keys += 1

    def type(self, text: str) -> None:
        """Every character is a key."""
        for character in text:
            self.press("Enter" if character == "\n" else character)

    def click(self, target: Locator) -> None:
        """Finds and clicks."""
        self.wait(0.7, 1.5)
        target.click()
        self.clicks += 1


def field(page: Page, name: str) -> Locator:
    """The input with the name of a field."""
    return page.get_by_label(f"Name of the field {name}", exact=True)


def with_keys(person: Person) -> None:
    """The whole schema with the keyboard; the focus starts in the first field."""
    field(person.page, "invoice_id").focus()
    person.press("Enter")
    for typed in FIELDS:
        _field_with_keys(person, typed)
        if typed[0] == "Currency":
            person.press("Control+a")
            person.type(CURRENCIES)
            person.press("Escape")
        if typed[0] == "Line items":
            for column in COLUMNS:
                _field_with_keys(person, column)
                person.press("Enter")
        if typed[0] != FIELDS[-1][0]:
            person.press("Enter")  # after a table: leaves it
    for rule in RULES:
        person.think()
        button = person.page.get_by_title(f"Add the rule {rule}")
        while not button.evaluate("element => element === document.activeElement"):
            person.press("Tab")
        person.press("Enter")
    person.press("Control+s")


def _field_with_keys(person: Person, typed: Typed) -> None:
    name, is_required, type_ = typed
    person.think()
    person.type(name)
    if name == "Currency":
        person.press("Enter")
        return
    if type_ or is_required:
        person.press("Tab")
        if type_:
            person.press(type_[0])
        person.press("Tab")
        if is_required:
            person.press("Space")
    if name == "Line items":
        person.press("Enter")


def with_mouse(person: Person) -> None:
    """The same with clicks; only names and values are typed."""
    page = person.page
    for typed in FIELDS:
        _field_with_mouse(person, typed, page.get_by_role("button", name="Add field", exact=True), "")
        if typed[0] == "Currency":
            person.click(page.locator("[data-part=values]"))
            person.press("Control+a")
            person.type(CURRENCIES)
        if typed[0] == "Line items":
            for column in COLUMNS:
                add = page.get_by_role("button", name="Add field to line_items")
                _field_with_mouse(person, column, add, "line_items, ")
    for rule in RULES:
        person.think()
        person.click(page.get_by_title(f"Add the rule {rule}"))
    person.click(page.get_by_role("button", name="Save", exact=True))


def _field_with_mouse(person: Person, typed: Typed, add: Locator, group: str) -> None:
    name, is_required, type_ = typed
    person.think()
    person.click(add)
    person.type(name)
    path = group + name.lower().replace(" ", "_")
    row = person.page.locator("li.builder-field", has=field(person.page, path)).last
    if type_ or is_required or name == "Currency":
        person.press("Tab")
        expect(field(person.page, path)).to_be_visible()
    if type_:
        person.clicks += 1
        person.wait(1.4, 3)
        row.locator("[data-part=type]").first.select_option(label=type_)
    if is_required:
        person.click(row.locator("[data-part=required]").first)


def from_examples(person: Person) -> None:
    """Two examples are pasted; a choice and the rules are added."""
    page = person.page
    person.click(page.get_by_role("button", name="Create from…"))
    person.wait(1, 2.5)
    page.locator("#draft-text").fill(EXAMPLES)
    person.keys += 1  # Ctrl+V
    person.click(page.locator("#draft-create"))
    expect(page.locator("#draft-source")).to_be_visible()
    person.wait(5, 10)  # reads the reasons
    person.clicks += 1
    person.wait(1.4, 3)
    page.get_by_label("Type of currency").select_option(label="Choice")
    person.click(page.locator("[data-part=values]"))
    person.press("Control+a")
    person.type(CURRENCIES)
    for rule in RULES:
        person.think()
        person.click(page.get_by_title(f"Add the rule {rule}"))
    person.click(page.get_by_role("button", name="Save", exact=True))


WALKS: dict[str, Callable[[Person], None]] = {"keys": with_keys, "mouse": with_mouse, "examples": from_examples}


def differences(schema: Any) -> list[str]:
    """What the saved schema lacks of the template."""
    found = []
    properties = schema["properties"]
    names = ["invoice_id", *(name.lower().replace(" ", "_") for name, _, _ in FIELDS)]
    if list(properties) != names:
        found.append(f"fields: {list(properties)}")
    if set(schema["required"]) != {"invoice_id", "date", "vendor", "line_items", "total_amount"}:
        found.append(f"required: {schema['required']}")
    row = properties["line_items"]["items"]
    if set(row["required"]) - {"quantity"} != {"description", "amount"}:
        found.append(f"required in rows: {row['required']}")
    for place, name, type_ in (
        (properties, "due_date", ("string", "date", None)), (properties, "currency", ("string", None, None)),
        (properties, "total_amount", ("number", None, "money")),
        (row["properties"], "quantity", ("number", None, None)),
        (row["properties"], "unit_price", ("number", None, "money")),
    ):  # fmt: skip
        one = place[name]
        got = (one["type"], one.get("format"), one.get("x-slm", {}).get("kind"))
        if got != type_:
            found.append(f"{name}: {got}")
    if sorted(properties["currency"].get("enum", ())) != sorted(CURRENCIES.split("\n")):
        found.append(f"choices: {properties['currency'].get('enum')}")
    if schema.get("x-slm", {}).get("invariants") != RULES:
        found.append(f"rules: {schema.get('x-slm')}")
    return found


def main() -> int:
    """Runs the walks; exit code 1 where a schema differs or a page reported an error."""
    parser = argparse.ArgumentParser(prog="python -m bench.schema_builder", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1, help="1: human; 20: only to see whether it works")
    parser.add_argument("--walks", nargs="+", choices=WALKS, default=list(WALKS))
    options = parser.parse_args()
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright's loop runs in this thread
    rows, failed = [], 0
    with studio(web_workers=1) as running, sync_playwright() as playwright:
        path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for number, name in enumerate(options.walks):
            page, project = _page(browser, running.port, name)
            complaints: list[str] = []
            _watch(page, complaints)
            person = Person(page, options.seed + number, options.speed)
            start = time.monotonic()
            WALKS[name](person)
            expect(page.locator("#messages")).to_contain_text("Saved.", timeout=60_000)
            seconds = time.monotonic() - start
            wrong = [*differences(_saved(project)), *complaints]
            failed += bool(wrong)
            rows.append([name, f"{seconds:.0f}", str(person.keys), str(person.clicks), "; ".join(wrong) or "equal"])
        browser.close()
    print(table("The invoice schema", ["walk", "seconds", "keys", "clicks", "schema"], rows))
    return 1 if failed else 0


def _watch(page: Page, complaints: list[str]) -> None:
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)


def _page(browser: Any, port: int, name: str) -> tuple[Page, Any]:
    """The contract page of a new project, as its owner."""
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import Client

    from labeling.projects.services import contract_etag, create_project, save_contract

    owner = get_user_model().objects.create_user(f"person-{name}", password="x")
    project = create_project(owner=owner, name=name, slug=name, template="invoice")
    contract = project.contract
    save_contract(
        project=project, user=owner, instruction="Extract the invoice.", schema_text=START, constraints={},
        seen=contract_etag(contract),
    )  # fmt: skip
    client = Client()
    client.force_login(owner)
    address = f"http://127.0.0.1:{port}"
    context = browser.new_context(base_url=address, viewport={"width": 1366, "height": 900})
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": address}])
    page = context.new_page()
    page.goto(f"/p/{name}/contract/")
    expect(page.locator("#contract-form")).to_have_attribute("data-ready", "1", timeout=60_000)
    return page, project


def _saved(project: Any) -> Any:
    from slmstudio.contract.json_text import loads

    project.refresh_from_db()
    return loads(project.schema_versions.latest("number").schema_text)


if __name__ == "__main__":
    sys.exit(main())
