"""The whole pipeline with three users: label, freeze, train, evaluate, create a gate report, approve."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone
from playwright.sync_api import Page, expect

from evaluation.models import GateReport
from labeling.datasets.queries import file_path
from labeling.demo.samples import generate
from labeling.models import Document, Project
from labeling.projects.services import create_project
from slmstudio.access import Role
from slmstudio.contract.schema.compiled import dumps
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.conftest import Workers
from tests.forked_children import WORKER
from training.models import ModelVersion

SEED_TEXT = (
    "...Thank you for your business. Invoice A-1029 issued on Jan 14, 2026. Payment terms: Net 30. "
    "Line items omitted for brevity. Total amount due USD 1,248.50. Vendor: Acme Supplies..."
)
LONG = 90_000  # milliseconds for a background run of the tiny model
PEOPLE = {"ana": Role.ANNOTATOR, "erik": Role.ENGINEER, "mona": Role.MANAGER}


@pytest.fixture
def project(transactional_db: None) -> Project:
    users = get_user_model().objects
    owner = users.create_user("owner")
    people = {users.create_user(name, password="x"): role for name, role in PEOPLE.items()}
    return create_project(owner=owner, name="Invoices", slug="invoices", template="invoice", members=people)


@pytest.fixture
def enter(new_page: Callable[[], Page], project: Project) -> Callable[[str], Page]:
    """``enter("ana")`` is a page of a browser in which that person has just logged in."""

    def login(name: str) -> Page:
        page = new_page()
        page.goto("/login/")
        page.get_by_label("Username").fill(name)
        page.get_by_label("Password").fill("x")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="Invoices").first.click()
        expect(page.get_by_role("heading", level=1, name="Invoices")).to_be_visible()
        return page

    return login


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_documents_to_approval(
    idle_workers: Workers, tiny_base_model: Any, enter: Callable[[str], Page], watch: Any
) -> None:
    idle_workers.start("default", "imports", "gpu", options=WORKER)
    watch.allow("422 POST")  # refusals that the test provokes
    erik = enter("erik")
    _import(erik)
    _label_the_seed(enter("ana"))
    _freeze(erik)
    _train(erik)
    _evaluate(erik)
    _judge(erik)
    _approve(enter("mona"))
    _hashes_are_those_of_the_files()


def _import(page: Page) -> None:
    rows = [{"id": s.external_id, "text": s.text, "gold": s.gold, "tags": s.tags} for s in generate(16, 3)]
    rows.append({"id": "broken", "gold": rows[0]["gold"]})
    rows.insert(0, {"id": "seed", "text": SEED_TEXT})
    page.get_by_role("link", name="Documents", exact=True).first.click()
    page.get_by_role("link", name="Import").first.click()
    page.locator("[name=rows]").fill("\n".join(dumps(row) for row in rows))
    page.locator("main").get_by_role("button", name="Import").click()
    expect(page.get_by_text("done", exact=False).first).to_be_visible(timeout=LONG)
    expect(page.locator("main")).to_contain_text("text", timeout=LONG)  # the rejected row is named with its reason
    assert Document.objects.count() == 17


def _label_the_seed(page: Page) -> None:
    page.get_by_role("link", name="Label", exact=True).first.click()
    expect(page.locator("#document")).to_contain_text("Invoice A-1029")
    page.get_by_role("textbox", name="Invoice number").fill("A-1029")
    page.get_by_role("textbox", name="Invoice date").fill("Jan 14, 2026")
    page.get_by_role("textbox", name="Vendor").fill("Acme Supplies")
    page.keyboard.press("Control+Enter")  # the total is missing: refused, and the focus goes there
    expect(page.get_by_role("textbox", name="Total amount")).to_be_focused()
    page.get_by_role("textbox", name="Total amount").fill("1,248.50")
    expect(page.locator("#form")).to_contain_text("2026-01-14")
    page.keyboard.press("Alt+Shift+Digit0")  # no other field is in the document
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="No documents to label")).to_be_visible()
    assert Document.objects.get(external_id="seed").state == "submitted"


def _freeze(page: Page) -> None:
    page.get_by_role("link", name="Datasets").first.click()
    page.locator("[name=validation]").fill("10")
    page.locator("[name=holdout]").fill("30")
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("v1")


def _train(page: Page) -> None:
    page.get_by_role("link", name="Training").first.click()
    page.get_by_role("link", name="Start the first run").click()
    page.locator("[name=base_model]").select_option("tiny-random")
    start = page.get_by_role("button", name="Start run")
    expect(start).to_be_enabled(timeout=LONG)
    page.locator("[name=epochs]").fill("2")
    start.click()
    page.wait_for_url("**/training/1/")
    expect(page.locator(".page-head")).to_contain_text("Done", timeout=LONG)
    expect(page.locator("canvas").first).to_be_visible()


def _evaluate(page: Page) -> None:
    for number, model in enumerate(("base-tiny-random", "run-1"), start=1):
        page.get_by_role("link", name="Evaluation").first.click()
        page.get_by_role("link", name="New evaluation").first.click()
        page.locator("[name=model]").select_option(model)
        page.locator("[name=split]").select_option("holdout")
        page.get_by_label("Evaluate on the hold-out").check()
        page.get_by_role("button", name="Start").click()
        page.wait_for_url(f"**/evaluation/{number}/")
        expect(page.locator(".page-head")).to_contain_text("Done", timeout=LONG)
    page.goto("/p/invoices/evaluation/compare/?runs=1,2")
    expect(page.locator("main")).to_contain_text("Wrong in both")


def _judge(page: Page) -> None:
    page.get_by_role("link", name="Gates").first.click()
    page.get_by_role("link", name="Create gate report").first.click()
    page.locator("[name=eval_run]").select_option(index=0)
    page.get_by_role("button", name="Create gate report").click()
    page.wait_for_url("**/gates/1/")
    expect(page.locator(".ship-no")).to_be_visible()
    expect(page.locator("main")).to_contain_text("NOT PROVEN")
    expect(page.get_by_role("button", name="Decide")).to_have_count(0)  # an engineer does not approve


def _approve(page: Page) -> None:
    page.goto("/p/invoices/gates/1/")
    page.get_by_label("Approve").check()
    page.locator("[name=reason]").fill("Good enough for a pilot.")
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#decision .field-error").first).to_be_visible()  # not without a waiver
    page.locator("[name=waiver_reason]").fill("The pilot is watched by two people.")
    page.locator("[name=waiver_expires]").fill((timezone.now() + timedelta(days=30)).date().isoformat())
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#decision")).to_contain_text("by mona")


def _hashes_are_those_of_the_files() -> None:
    report = GateReport.objects.get()
    model = ModelVersion.objects.chosen().get()
    assert report.manifest["model"] == folder_hash(artifacts.local_path(model.folder_key))
    assert report.manifest["dataset"] == sha256_file(file_path(report.eval_run.dataset))
    outputs = artifacts.local_path(f"{report.eval_run.folder_key}/outputs.jsonl")
    assert report.manifest["outputs"] == sha256_file(outputs)
    assert Path(outputs).read_text().count("\n") == report.eval_run.outputs.count()
