"""A day with a new kind of document, typed as a person types: a project from the builder, labels, review, exports, and
a change of the schema. Every stored value is compared with what was typed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import Page, expect

from labeling.annotation import services as annotation_services
from labeling.datasets.formats.registry import FORMATS
from labeling.imports.formats.base import Context
from labeling.imports.formats.registry import detect, open_file
from labeling.imports.rows import validate_row
from labeling.jobs import run_schema_migration
from labeling.models import Annotation, Document, Gold, Project, SchemaMigration, Split
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import compile_schema
from tests.browser.conftest import Open
from tests.browser.delivery_notes import DIRECTIONS, ITEMS, LAYOUTS, NOTES, SCHEMA, Note
from tests.browser.forms import use_schema
from tests.browser.labeling import all_saved, control, select
from tests.browser.test_import_pages import run_all
from tests.browser.test_schema_builder import name, save
from tests.labeling.desk import person
from tests.labeling.import_files import stored as stored_file
from tests.labeling.label_desk import Desk, make_desk
from tests.labeling.work_desk import change, member

pytestmark = pytest.mark.slow


# -- the project -------------------------------------------------------------------------------------------------------

FIELDS = ("Note number", "Date", "Sender", "Recipient", "Direction", "Order number", "Signed", "Remark", "Items")
COLUMNS = ("SKU", "Description", "Quantity", "Unit")


def test_a_project_is_built_from_names_and_gets_its_documents(
    transactional_db: None, logged_in: Callable[[Any], Page], queues: None, tmp_path: Path
) -> None:
    owner = person("founder")
    owner.user_permissions.add(Permission.objects.get(codename="add_project"))
    page = logged_in(owner)
    page.on("dialog", lambda dialog: dialog.accept())  # leaving with unsaved changes asks
    page.goto("/")
    page.get_by_role("link", name="New project", exact=True).click()
    expect(page.locator("#id_name")).to_be_focused()
    page.keyboard.type("Delivery notes", delay=120)
    page.keyboard.press("Enter")
    expect(page.locator("#contract-form")).to_have_attribute("data-ready", "1")
    expect(name(page, "field")).to_be_focused()
    _type_fields(page)
    saved = save(page)
    assert Project.objects.get().slug == "delivery-notes"
    assert {"title", "x-slm"} & {*saved} == set()
    rows = saved["properties"]["items"]["items"]
    for built, wanted in ((saved, SCHEMA), (rows, ITEMS)):
        assert list(built["properties"]) == list(wanted["properties"])
        assert built["required"] == wanted["required"]
        for key, schema in wanted["properties"].items():
            assert key == "items" or built["properties"][key] == schema
    _import_notes(page, tmp_path)


def _import_notes(page: Page, folder: Path) -> None:
    rows = [dumps({"id": note.name, "text": note.text}) for note in NOTES]
    page.get_by_role("link", name="Documents", exact=True).first.click()
    page.get_by_role("link", name="Import").first.click()
    page.set_input_files("input[name=file]", stored_file(folder, "notes.jsonl", "\n".join(rows)))
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_all()
    expect(page.get_by_text("Indexed for search in")).to_be_visible()
    assert dict(Document.objects.values_list("external_id", "text")) == {note.name: note.text for note in NOTES}


def _type_fields(page: Page) -> None:
    for number, typed in enumerate(FIELDS):
        page.keyboard.type(typed, delay=(120, 180, 250)[number] if number < 3 else 10)
        page.keyboard.press("Enter")
    for typed in COLUMNS:
        page.keyboard.type(typed, delay=10)
        page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.keyboard.press("Alt+Delete")
    page.get_by_label("Type of direction", exact=True).select_option("choice")
    page.locator("[data-part=values]").focus()  # its values are selected
    page.keyboard.type("incoming\noutgoing", delay=10)
    page.keyboard.press("Escape")
    for path in (*SCHEMA["required"], *(f"items, {column}" for column in ITEMS["required"])):
        name(page, path).focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Space")


# -- labels ------------------------------------------------------------------------------------------------------------

#: titles of the fields before the table, in the order of Tab
TITLES = {
    "note_number": "Note number", "date": "Date", "sender": "Sender", "recipient": "Recipient",
    "direction": "Direction", "order_number": "Order number", "signed": "Signed", "remark": "Remark",
}  # fmt: skip


@dataclass
class Typist:
    """A person at the labeling screen. ``slowest`` and ``fastest``: milliseconds from key to key."""

    page: Page
    fastest: int = 0
    slowest: int = 15
    random: Random = field(default_factory=lambda: Random(27))

    def type(self, text: str) -> None:
        """Types at this person's speed."""
        for character in text:
            self.page.keyboard.type(character)
            self._pause()

    def press(self, *keys: str) -> None:
        """Presses keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
            self._pause()

    def _pause(self) -> None:
        if self.slowest:
            self.page.wait_for_timeout(self.random.uniform(self.fastest, self.slowest))

    # -- ways to fill a text field that has the focus ------------------------------------------------------------------

    def by_keys(self, text: str) -> None:
        """The whole text."""
        self.type(text)

    def by_completion(self, text: str) -> None:
        """Its beginning; the rest is taken from the document, and a longer rest is cut."""
        self.type(text[:4])
        expect(self.page.locator(".sf-hint")).to_be_visible()
        self.press("End")
        expect(self.page.locator("#form :focus")).to_have_value(text)

    def by_mouse(self, text: str) -> None:
        """Selects it in the document."""
        select(self.page, text, text)
        expect(self.page.locator("#form :focus")).to_have_value(text)

    def by_mistake(self, text: str) -> None:
        """Something else at first, which is undone."""
        self.type("Wrong one")
        self.press("Control+a", "Backspace", "Control+z")
        expect(self.page.locator("#form :focus")).to_have_value("Wrong one")
        self.press("Control+a")
        self.type(text)

    # -- a label ---------------------------------------------------------------------------------------------------

    def head(self, note: Note, fill: Callable[[str], None]) -> None:
        """Fills the fields before the table, from the first on, which has the focus."""
        for key, title in TITLES.items():
            expect(control(self.page, title)).to_be_focused()
            if key == "direction":
                self.press(str(1 + DIRECTIONS.index(note.value[key])))
            elif key not in note.value:
                self.press("Alt+0")
            elif key == "signed":
                self.press("1" if note.value[key] else "2")
            else:
                fill(note.printed[key])
            self.press("Tab")

    def table(self, note: Note) -> None:
        """Makes rows of the lines of the table, or types them cell by cell."""
        rows = self.page.locator("[data-body] tr")
        if note.is_read_by_alt_r:
            select(self.page, note.lines[0], note.lines[-1])
            self.press("Alt+r")
            expect(rows).to_have_count(len(note.rows))
            return
        for number, row in enumerate(note.rows, start=1):
            self.press("Alt+r")
            expect(rows).to_have_count(number)
            for column, cell in enumerate(row):
                self.press(*["Tab"] * bool(column))
                self.type(str(cell))

    def submit(self, note: Note) -> None:
        """Submits, which must open the next document, and compares the stored value with what was typed."""
        self.press("Control+Enter")
        expect(self.page.locator("#document-name")).not_to_have_text(note.name)
        assert stored(note) == note.value
        assert misplaced(note) == []
        assert Document.objects.get(external_id=note.name).state == "submitted"


def plain(value: Any) -> Any:
    """A stored value with plain numbers."""
    return json.loads(dumps(value))


def stored(note: Note) -> Any:
    """The newest value of a document's label."""
    return plain(Annotation.objects.filter(document__external_id=note.name).latest("schema_version").value)


def misplaced(note: Note) -> list[str]:
    """The values whose place in the document is that of another value: in another row, or of another text."""
    evidence = Annotation.objects.get(document__external_id=note.name).evidence
    whole = (0, len(note.text))
    wanted = {key: (text, whole) for key, text in note.printed.items() if text}
    per_row = len(note.lines) // len(note.rows)
    for number, row in enumerate(note.rows):
        lines = "\n".join(note.lines[number * per_row : (number + 1) * per_row])
        start = note.text.index(lines)
        for column, cell in zip(ITEMS["properties"], row, strict=True):
            wanted[f"items[{number}].{column}"] = (str(cell), (start, start + len(lines)))
    found = []
    for path, (text, (first, last)) in wanted.items():
        start, end = evidence[path]["start"], evidence[path]["end"]
        if note.text[start:end] != text or not first <= start < end <= last:
            found.append(f"{path}: {note.text[start:end]!r} at {start}")
    return found


def gold_values(project: Project) -> dict[str, Any]:
    """The gold labels by the name of their document."""
    rows = Gold.objects.current(Project.objects.get(pk=project.pk)).select_related("document", "revision")
    return {row.document.external_id: plain(row.revision.value) for row in rows}


@pytest.fixture
def notes(transactional_db: None) -> Desk:
    """A project of delivery notes, with a reviewer, and its 27 documents."""
    desk = make_desk()
    use_schema(desk, SCHEMA)
    member(desk, "rita", Role.REVIEWER)
    for note in NOTES:
        desk.document(note.text, note.name)
    return desk


def test_labels_are_typed_in_every_way(notes: Desk, open_label: Open) -> None:
    page = open_label(notes.ana)
    slow = Typist(page, fastest=120, slowest=250)
    slow.head(NOTES[0], slow.by_keys)
    ana = Typist(page)
    ana.table(NOTES[0])
    ana.submit(NOTES[0])
    for note, fill in zip(NOTES[1:4], (ana.by_completion, ana.by_mouse, ana.by_mistake), strict=True):
        ana.head(note, fill)
        ana.table(note)
        ana.submit(note)


def test_every_layout_of_a_table_becomes_rows(notes: Desk, open_label: Open) -> None:
    page = open_label(notes.ana, Document.objects.get(external_id=NOTES[4].name))
    ana = Typist(page, slowest=4)
    for note in NOTES[4 : len(LAYOUTS)]:
        expect(page.locator("#document-name")).to_have_text(note.name)
        ana.table(note)
        control(page, "Note number").focus()
        ana.head(note, ana.by_keys)
        ana.submit(note)


def test_documents_are_left_and_opened_again(notes: Desk, open_label: Open) -> None:
    """Alt+N, Alt+P, Back and Forward in the middle of a label: what was typed stays with its document."""
    first, second, third = NOTES[:3]
    page = open_label(notes.ana)
    ana = Typist(page)
    ana.by_keys(first.printed["note_number"])
    for key, note in (("Alt+n", second), ("Alt+n", third), ("Alt+p", second)):
        ana.press(key)
        _shows(page, note)
        if not control(page, "Note number").input_value():
            ana.by_completion(note.printed["note_number"])
    page.go_back()
    _shows(page, third)
    expect(control(page, "Date")).to_be_focused()  # the first empty one
    ana.by_mouse(third.printed["date"])
    page.go_forward()
    _shows(page, second)
    for note in (third, first):  # the one seen before, then the one before that
        ana.press("Alt+p")
        _shows(page, note)
    ana.press("Alt+r", "Shift+Tab")
    ana.press("Control+z")
    control(page, "Note number").focus()
    ana.press("Tab")
    ana.by_completion(first.printed["date"])
    ana.press("Control+s")
    all_saved(page)
    assert stored(first) == {name: first.value[name] for name in ("note_number", "date")}
    assert stored(second) == {"note_number": second.value["note_number"]}
    assert stored(third) == {name: third.value[name] for name in ("note_number", "date")}


def _shows(page: Page, note: Note) -> None:
    expect(page.locator("#document-name")).to_have_text(note.name)
    expect(page.locator("#form :focus")).to_have_count(1)


# -- review, dataset, exports ------------------------------------------------------------------------------------------


def submitted(desk: Desk, number: int, **changes: Any) -> Document:
    """The label of a delivery note by Ana, with changes, through the service."""
    note = NOTES[number]
    document = Document.objects.select_related("project").get(project=desk.project, external_id=note.name)
    value = {**note.value, **changes}
    evidence = {name: {"confirmed": True, "of": dumps(inner)} for name, inner in value.items()}
    annotation_services.submit(document=document, user=desk.ana, value=value, evidence=evidence, base_version=0)
    return document


def test_review_freeze_and_exports(notes: Desk, logged_in: Callable[[Any], Page], queues: None, tmp_path: Path) -> None:
    change(notes, review_required=True)
    for number in range(10):
        submitted(notes, number, **({"sender": "Somebody else"} if number in (1, 2) else {}))
    page = logged_in(notes.rita)
    page.goto("/p/desk/review/")
    page.keyboard.press("s")
    rita = Typist(page)
    for note in NOTES[:10]:
        expect(page.locator("#review-document-name")).to_have_text(note.name)
        page.wait_for_load_state()
        if note is NOTES[1]:
            page.keyboard.press("f")
            _shows(page, note)
            control(page, "Sender").focus()
            page.keyboard.press("Control+a")
            rita.by_keys(note.printed["sender"])
            page.keyboard.press("Control+Enter")
        elif note is NOTES[2]:
            page.keyboard.press("r")
            rita.type("The sender is another one.")
            page.keyboard.press("Control+Enter")
        else:
            page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Review", exact=True)).to_be_visible()
    _relabel(logged_in(notes.ana), NOTES[2])
    page.goto("/p/desk/review/")
    page.keyboard.press("s")
    expect(page.locator("#review-document-name")).to_have_text(NOTES[2].name)
    page.keyboard.press("a")
    expect(page.get_by_role("heading", name="Review", exact=True)).to_be_visible()
    assert gold_values(notes.project) == {note.name: note.value for note in NOTES[:10]}
    _exports_have_what_was_typed(logged_in(notes.owner), tmp_path)


def _relabel(page: Page, note: Note) -> None:
    """The annotator corrects a rejected label."""
    page.goto("/p/desk/label/")
    _shows(page, note)
    expect(page.locator("#rejection")).to_contain_text("The sender is another one.")
    control(page, "Sender").focus()
    page.keyboard.press("Control+a")
    Typist(page).by_completion(note.printed["sender"])
    page.keyboard.press("Control+Enter")
    expect(page.locator("#document-name")).not_to_have_text(note.name)


def _exports_have_what_was_typed(page: Page, folder: Path) -> None:
    """Freezes a version on its page, and reads every format of it, and of the current labels."""
    page.goto("/p/desk/datasets/")
    page.get_by_role("button", name="Freeze", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("v1")
    typed = {note.name: note.value for note in NOTES[:10]}
    for shape, file_format in FORMATS.items():
        splits = Split.values if file_format.is_training else [""]
        files = [page.request.get(f"/p/desk/datasets/1/export/{shape}/?split={split}") for split in splits]
        parts = [_labels(shape, file.body(), folder) for file in files]
        assert {name: label for part in parts for name, label in part.items()} == typed
        assert sum(map(len, parts)) == len(typed)
        current = _labels(shape, page.request.get(f"/p/desk/export/{shape}/").body(), folder)
        assert current == (parts[0] | parts[1] if file_format.is_training else typed)  # a trainer gets no hold-out


#: what a trainer is given, and what it learns
TRAINING: dict[str, Callable[[Any], tuple[str, str]]] = {
    "instruct": lambda line: (line["input"], line["output"]),
    "chat": lambda line: (line["messages"][1]["content"], line["messages"][2]["content"]),
    "completion": lambda line: (line["prompt"], line["completion"]),
}


def _labels(shape: str, data: bytes, folder: Path) -> dict[str, Any]:
    """The labels of an exported file by the name of their document, as another program reads it."""
    compiled = compile_schema(SCHEMA)
    names = {note.text: note.name for note in NOTES}
    if FORMATS[shape].is_training:
        lines = [json.loads(line) for line in data.decode().splitlines()]
        pairs = [TRAINING[shape](line) for line in lines]
        return {next(names[text] for text in names if text in asked): json.loads(answer) for asked, answer in pairs}
    path = folder / f"export.{FORMATS[shape].extension}"
    path.write_bytes(data)
    with open_file(path, detect(path, path.name).name, path.name, Context(compiled, folder)) as opened:
        rows = [validate_row(row, compiled) for row in opened.rows]
    assert all(names[row.text] == row.external_id for row in rows)
    return {row.external_id: plain(row.gold) for row in rows}


# -- another schema ----------------------------------------------------------------------------------------------------


def test_renames_and_a_new_field_migrate_the_labels(
    notes: Desk, logged_in: Callable[[Any], Page], queues: None
) -> None:
    for number in range(10):
        submitted(notes, number)
    page = logged_in(notes.owner)
    page.goto("/p/desk/contract/")
    expect(page.locator("#contract-form")).to_have_attribute("data-ready", "1")
    for before, after in (("note_number", "delivery_number"), ("items, unit", "unit_of_measure")):
        name(page, before).fill(after)
        page.keyboard.press("Tab")
    name(page, "remark").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("Carrier")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+s")
    page.wait_for_url("**/contract/migrations/*/")
    trial = SchemaMigration.objects.get()
    run_schema_migration(trial.pk)
    expect(page.get_by_role("button", name="Apply to all labels")).to_be_visible()
    page.get_by_role("button", name="Apply to all labels").click()
    applied = SchemaMigration.objects.exclude(pk=trial.pk).get()
    run_schema_migration(applied.pk)
    expect(page.locator("#result")).to_contain_text("Done")
    gold = gold_values(notes.project)
    for note in NOTES[:10]:
        rows = [{**row, "unit_of_measure": row["unit"]} for row in note.value["items"]]
        for row in rows:
            del row["unit"]
        wanted = {**note.value, "delivery_number": note.value["note_number"], "items": rows}
        del wanted["note_number"]
        assert stored(note) == gold[note.name] == wanted
    assert notes.project.schema_versions.count() == 3
