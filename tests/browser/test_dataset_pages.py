"""Dataset pages: the preview of a freeze, lengths, pages of examples; in light, in dark and on a phone."""

from typing import Any

import pytest
from playwright.sync_api import expect

from labeling.datasets.freeze import freeze
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import write_text
from tests.browser.accessibility import check
from tests.browser.conftest import As
from tests.labeling.desk import Desk, bring_in, invoice, make_desk


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    desk = make_desk()
    rows = [
        invoice(n, tags=[["ocr_noise"], ["several_dates", "poor_scan"], []][n % 3], company=f"company {n % 5}")
        for n in range(40)
    ]
    for row in rows:
        row["text"] += f"\nItem {row['id'][-2:] * 9}\nThank you for your business. Payment is due within 30 days."
    bring_in(desk.project, [*rows, {**rows[3], "id": "second-scan", "text": rows[3]["text"].replace("Item", "ltem")}])
    bring_in(desk.project, [invoice(90, gold=False)])
    return desk


@pytest.mark.slow
def test_a_version_is_frozen_by_rules_and_compared(desk: Desk, logged_in: As, tiny_base_model: Any) -> None:
    from labeling.datasets.queries import rows
    from training.models import LengthReport

    page = logged_in(desk.people["engineer"])
    page.goto(desk.url("datasets/"))
    expect(page.locator("#preview")).to_contain_text("Included labels")
    page.get_by_text("Rules: groups, strata, filters").click()
    page.get_by_label("Group by").select_option(label="company")
    page.locator("fieldset", has_text="Excluded tags").get_by_label("Poor scan").check()
    expect(page.locator("#preview")).to_contain_text("Excluded by the rules")
    check(page, "freeze")
    page.reload()  # axe leaves empty style attributes, which htmx would carry over
    page.get_by_role("button", name="Freeze", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("v1")
    bring_in(desk.project, [invoice(100), invoice(101)])
    second = freeze(project=desk.project, user=desk.people["engineer"], seed=9, validation_share=0.3)
    lengths = [[row["id"], row["split"], 120 + 7 * n, 40] for n, row in enumerate(rows(second))]
    report = LengthReport.objects.create(
        dataset=second, base_model=tiny_base_model, status=Status.DONE, lengths=lengths, longest=500,
        model_sha256=tiny_base_model.sha256,
    )  # fmt: skip
    write_text(report.sample_key, '{"train": {"id": "inv-0001", "prompt": "<|im_start|>user", "completion": "{}"}}')
    page.goto(desk.url("datasets/2/"))
    page.get_by_label("Sequence length (tokens)").fill("300")
    page.get_by_label("Sequence length (tokens)").press("Enter")
    expect(page.locator("#token-lengths")).to_contain_text("split into windows")
    page.get_by_role("navigation", name="Split").get_by_role("link", name="hold-out").click()
    expect(page.locator("#examples .tag", has_text="hold-out").first).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#examples")).to_contain_text("Page 2 of")
    page.reload()
    expect(page.locator("#examples")).to_contain_text("Page 2 of")
    check(page, "version")
    page.get_by_role("link", name="Show pairs").click()
    expect(page.get_by_text("second-scan")).to_be_visible()
    page.goto(desk.url("datasets/"))
    page.get_by_role("link", name="Compare two versions").click()
    page.get_by_role("navigation", name="What changed").get_by_role("link", name="added 2").click()
    expect(page.get_by_role("link", name="inv-0100")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text("v1 → v2")
    check(page, "diff")
    page.goto(desk.url("export/?tag=ocr_noise"))
    check(page, "export")
