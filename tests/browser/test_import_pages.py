"""Import pages: selected and dropped files, folder paths, column previews, both themes."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import check
from tests.browser.conftest import As
from tests.labeling.import_files import packed, pdf, stored

TABLE = "text,category\nmy card is lost,billing\nI want to buy,sales\nwhat is this,unknown\n"

#: chooses in a select in the moment in which a response is shown
AT_THE_SWAP = """([select, value]) => document.addEventListener("htmx:afterSwap", () => {
  document.querySelector(select).value = value;
  document.querySelector(select).dispatchEvent(new Event("change", { bubbles: true }));
}, { once: true })"""


@pytest.fixture
def engineer(transactional_db: None, logged_in: As) -> Page:
    """A page of an engineer of the project ``desk``, which routes tickets."""
    from tests.labeling.desk import make_desk

    page = logged_in(make_desk(template="ticket-routing").people["engineer"])
    page.set_viewport_size({"width": 1280, "height": 860})
    page.goto("/p/desk/documents/import/")
    return page


def run_all() -> None:
    """What a worker would do."""
    from labeling.jobs import run_import, run_indexing
    from labeling.models import ImportRun, IndexRun

    for run in ImportRun.objects.live():
        run_import(run.pk)
    for index in IndexRun.objects.live():
        run_indexing(index.pk)


@pytest.mark.slow
def test_a_table_is_mapped_and_imported(engineer: Page, tmp_path: Path) -> None:
    page = engineer
    check(page, "import")
    page.set_input_files("input[name=file]", stored(tmp_path, "train.csv", TABLE))
    expect(page.locator("[data-chosen]")).to_have_text("train.csv, 79 bytes")
    page.get_by_role("button", name="Import", exact=True).click()

    expect(page.get_by_text("2 of the first 3 rows are valid.")).to_be_visible()
    expect(page.get_by_label("Role of the column category")).to_have_value("gold:queue")
    check(page, "columns")
    page.evaluate(AT_THE_SWAP, ["[name=c1]", "gold:queue"])
    with page.expect_response(lambda answer: "c1=gold" in answer.url):
        page.get_by_label("Role of the column category").select_option("drop")
    expect(page.get_by_label("Role of the column category")).to_have_value("gold:queue")
    expect(page.get_by_text("2 of the first 3 rows are valid.")).to_be_visible()
    page.get_by_label("Delimiter").select_option(";")
    expect(page.get_by_label("Role of the column category")).to_have_count(0)
    page.get_by_label("Delimiter").select_option("")
    expect(page.get_by_label("Delimiter")).to_contain_text("Detected: Comma")
    expect(page.get_by_text("2 of the first 3 rows are valid.")).to_be_visible()
    page.get_by_label("Role of the column category").focus()
    page.get_by_label("Role of the column category").select_option("beside")
    expect(page.locator(".alert-success")).to_contain_text("The first 3 rows are valid.")
    expect(page.get_by_label("Role of the column category")).to_be_focused()
    page.reload()
    expect(page.get_by_label("Role of the column category")).to_have_value("beside")
    page.get_by_label("Role of the column text").select_option("beside")
    expect(page.get_by_role("alert")).to_have_text("Choose the column that contains the document text.")
    expect(page.get_by_role("button", name="Import", exact=True)).to_be_disabled()
    page.get_by_label("Role of the column text").select_option("text")
    page.get_by_label("Role of the column category").select_option("gold:queue")
    expect(page.get_by_text("2 of the first 3 rows are valid.")).to_be_visible()
    page.get_by_role("button", name="Import", exact=True).click()

    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_all()
    expect(page.get_by_role("heading", name="Rejected rows")).to_be_visible()
    expect(page.get_by_text("Indexed for search in")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="reasons (text)").click()
    assert "row 4: the column category" in Path(download.value.path()).read_text()


@pytest.mark.slow
def test_options_fit_the_chosen_files(engineer: Page, tmp_path: Path) -> None:
    page = engineer
    expect(page.get_by_label("Format", exact=True)).to_be_hidden()
    page.get_by_text("Options", exact=True).click()
    options = page.locator("[data-extensions]")

    def offered(*names: str) -> None:
        assert options.locator("visible=true").locator("select").evaluate_all("all => all.map(({ name }) => name)") == [
            *names
        ]
        assert options.locator("select:enabled").count() == len(names)

    offered()
    page.set_input_files("input[name=file]", stored(tmp_path, "train.csv", TABLE))
    offered()
    page.set_input_files(
        "input[name=file]", [stored(tmp_path, "a.pdf", pdf([["one"]])), stored(tmp_path, "b.txt", "two")]
    )
    offered("layout", "split", "ocr")
    page.get_by_label("Format", exact=True).select_option("text")
    offered("split")
    page.get_by_label("Format", exact=True).select_option("")
    page.set_input_files("input[name=file]", [])
    page.get_by_label("Or paste").fill("first message")
    page.get_by_label("Or paste").blur()
    offered("split")


@pytest.mark.slow
def test_a_folder_is_dropped(engineer: Page, tmp_path: Path) -> None:
    page = engineer
    page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["one"], "a.txt"));
          transfer.items.add(new File(["two"], "b.txt"));
          const zone = document.querySelector("[data-drop-zone]");
          zone.dispatchEvent(new DragEvent("dragover", { dataTransfer: transfer, bubbles: true, cancelable: true }));
          zone.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator("[data-chosen]")).to_have_text("2 files, 6 bytes")

    (tmp_path / "in" / "deep").mkdir(parents=True)
    stored(tmp_path / "in", "x.txt", "first")
    stored(tmp_path / "in" / "deep", "x.txt", "second")
    page.set_input_files("[data-folder]", tmp_path / "in")
    expect(page.locator("[data-chosen]")).to_have_text("2 files, 11 bytes")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_all()
    from labeling.models import Document

    expect(page.get_by_text("Indexed for search in")).to_be_visible()
    assert set(Document.objects.values_list("external_id", flat=True)) == {"in/x.txt", "in/deep/x.txt"}


@pytest.mark.slow
def test_a_rejected_upload_keeps_the_options(engineer: Page, tmp_path: Path, watch: Any) -> None:
    watch.allow("422 POST")
    page = engineer
    page.set_input_files(
        "input[name=file]", stored(tmp_path, "a.docx", packed({"[Content_Types].xml": "", "word/a": ""}))
    )
    page.get_by_label("Or paste").fill("and this too")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("Choose files or paste text, not both.")).to_be_visible()
    expect(page.locator("[data-chosen]")).to_contain_text("a.docx")
    page.get_by_label("Or paste").fill("")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("a.docx is an Office file; save it as PDF or CSV.")).to_be_visible()


def test_a_project_begins_with_a_fine_tuning_file(transactional_db: None, logged_in: As, tmp_path: Path) -> None:
    """The walk of docs/import.md: fifty rows, and six clicks to the first labeled document."""
    from django.contrib.auth.models import Permission

    from labeling.models import Document, Gold, Project
    from tests.labeling.conversation_files import fine_tuning_file
    from tests.labeling.desk import person

    owner = person("founder")
    owner.user_permissions.add(Permission.objects.get(codename="add_project"))
    page = logged_in(owner)
    page.goto("/")
    page.get_by_role("link", name="New project from a file").click()  # 1
    page.locator("input[name=name]").fill("Vendor invoices")
    page.set_input_files("input[name=file]", stored(tmp_path, "train.jsonl", fine_tuning_file(50)))  # 2
    page.get_by_role("button", name="Create project").click()  # 3

    expect(page.get_by_text("All 50 answers in the first rows match it.")).to_be_visible()
    expect(page.get_by_text("The first 50 rows can be imported.")).to_be_visible()
    check(page, "exchanges")
    shared = page.get_by_label("Shared prompt")
    shared.select_option("keep")
    expect(page.locator(".exchange-text").first).to_contain_text("Extract the fields")
    shared.select_option("remove")
    expect(page.locator(".exchange-text").first).not_to_contain_text("Extract the fields")
    page.evaluate(AT_THE_SWAP, ["[name=prompt]", "remove"])
    with page.expect_response(lambda answer: "prompt=remove" in answer.url):
        shared.select_option("keep")
    expect(shared).to_have_value("remove")
    expect(page.locator(".exchange-text").first).not_to_contain_text("Extract the fields")
    page.get_by_role("link", name="Edit contract").click()
    page.get_by_role("link", name="Continue import").click()
    Project.objects.update(withheld_share=0)  # otherwise by a hash of the ids
    page.get_by_role("button", name="Import", exact=True).click()  # 4
    run_all()
    expect(page.locator(".counts")).to_contain_text("50")
    Document.objects.update(holdout=False)  # the first one is reserved in three of ten imports, by their number
    page.locator("nav").get_by_role("link", name="Label", exact=True).click()  # 5
    expect(page.locator("#document")).to_contain_text("Invoice B-0")
    page.locator("#submit-button").click()  # 6
    expect(page.locator("#document")).to_contain_text("Invoice B-1")
    assert [gold.revision.value["invoice_id"] for gold in Gold.objects.select_related("revision")] == ["B-0"]
