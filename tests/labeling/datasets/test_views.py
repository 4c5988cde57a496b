"""Datasets through the pages: freezing, reading, exporting, by role."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.datasets.freeze import freeze, start_freeze
from labeling.datasets.freeze_rules import Rules
from labeling.jobs import run_freeze
from labeling.models import DatasetVersion, FreezeRun
from slmstudio.storage import artifacts
from tests.labeling.desk import Desk, bring_in, invoice
from tests.labeling.label_desk import pre_label
from tests.shared_rows import shared_fixture

KNOBS = {"seed": 17, "validation": "10", "holdout": "20"}


@shared_fixture
def frozen(desk: Desk) -> DatasetVersion:
    bring_in(desk.project, [invoice(number, tags=["ocr_noise"]) for number in range(20)])
    return freeze(project=desk.project, user=desk.people["engineer"])


def test_page_previews_and_freezes_the_version(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2), invoice(3, gold=False)])
    bring_in(desk.project, [invoice(4)], as_holdout=True)
    bring_in(desk.project, [invoice(5)], synthetic=True)
    client = desk.as_("engineer")
    ahead = client.get(desk.url("datasets/")).context["preview"]
    assert (ahead.documents, ahead.held_out, ahead.invalid) == (4, 1, 0)
    assert ahead.origins == {"imported": 3, "synthetic": 1}
    answer = client.post(desk.url("datasets/"), KNOBS)
    assert (answer.status_code, answer["Location"]) == (302, desk.url("datasets/1/"))
    assert DatasetVersion.objects.get().created_by == desk.people["engineer"]


def test_small_splits_are_warned_of_before_the_freeze(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(60)])
    page, client = desk.url("datasets/"), desk.as_("engineer")

    def warnings(**shares: str) -> list[str]:
        return [warning.split()[1] for warning in client.get(page, {"seed": "17", **shares}).context["warnings"]]

    assert len(client.get(page).context["warnings"]) == 2
    assert warnings(holdout="50", validation="50") == ["30", "validation"]
    assert warnings(holdout="20", validation="50") == ["12"]
    assert "368" in client.get(page).context["warnings"][0]
    assert "warnings" not in desk.as_("annotator").get(page).context
    assert client.post(page, KNOBS).status_code == 302


def test_rules_offer_what_the_project_uses(desk: Desk) -> None:
    from labeling.models import Document

    bring_in(desk.project, [invoice(1), invoice(2)])
    client = desk.as_("engineer")

    def fields() -> dict[str, Any]:
        form: Any = client.get(desk.url("datasets/")).context["form"]
        return dict(form.fields)

    names = {"tags", "without_tags", "silver", "silver_confidence"}
    assert not names & fields().keys()
    assert "tags" not in dict(fields()["stratify"].choices)
    bring_in(desk.project, [invoice(3, tags=["ocr_noise", "en"])])
    assert [value for value, _ in fields()["tags"].choices] == ["ocr_noise", "en"]
    assert "ocr_noise" not in dict(fields()["tags"].choices).values()
    pre_label(Document.objects.latest("pk"), "{}", "api")
    assert names <= fields().keys()
    answer = client.get(desk.url("datasets/?seed=17&validation=10&holdout=20&tags=en&silver=agreement"))
    assert (answer.context["form"].unfolded, answer.context["form"].silver_unfolded) == (True, True)
    assert answer.context["preview"].documents == 1


def test_an_export_of_a_split_and_a_version_without_file(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("annotator")
    answer = client.get(desk.url("datasets/1/export/rows/?split=train"))
    rows = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]  # type: ignore[attr-defined]
    assert {row["split"] for row in rows} == {"train"}
    for path in ("datasets/1/export/rows/?split=test", "datasets/1/export/xml/", "datasets/2/"):
        assert client.get(desk.url(path)).status_code == 404, path
    artifacts.store().delete(frozen.artifact_key)
    answer = client.get(desk.url("datasets/1/"))
    assert answer.status_code == 200
    assert "missing from the artifact store" in answer.content.decode()
    assert client.get(desk.url("datasets/1/export/rows/")).status_code == 404


def test_dataset_list_query_count(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("engineer")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(desk.url("datasets/"))
        return len(captured)

    queries()  # the first adds the gate policy
    before = queries()
    for seed in range(3):
        freeze(project=desk.project, user=desk.people["engineer"], seed=seed)
    assert DatasetVersion.objects.count() > 3
    assert queries() == before <= 24


# -- rules, many documents, near-duplicates, differences --------------------------------------------------------------


def test_rules_reach_the_version(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number, shop=f"shop {number % 7}") for number in range(40)])
    more = {"group_by": "metadata.shop", "similarity": "90", "most": "20"}
    assert desk.as_("engineer").post(desk.url("datasets/"), {**KNOBS, **more}).status_code == 302
    dataset = DatasetVersion.objects.get()
    assert dataset.rules["group_by"] == "metadata.shop"
    assert dataset.rules["similarity"] == 0.9
    sides: dict[str, set[str]] = {}
    for item in dataset.items.select_related("document"):
        sides.setdefault(item.document.metadata["shop"], set()).add(item.split)
    assert all(len(splits) == 1 for splits in sides.values())
    page = desk.as_("manager").get(desk.url("datasets/1/")).content.decode()
    assert "Grouped by" in page
    assert "metadata.shop" in page
    assert "Over the maximum number" in page


def test_invalid_rules_show_errors(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    client = desk.as_("engineer")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"group_by": "metadata.nowhere"}, "not one of the available choices"),
        ({"stratify": "invoice_id"}, "not one of the available choices"),
        ({"similarity": "30"}, "greater than or equal to 60"),
        ({"most": "1"}, "greater than or equal to 2"),
        ({"states": ["new"]}, "not one of the available choices"),
        ({"seed": "9" * 400}, "less than or equal to 2147483647"),
    ]
    for changes, message in cases:
        answer = client.post(desk.url("datasets/"), {**KNOBS, **changes})
        assert answer.status_code == 422
        assert message in answer.content.decode()
    assert not DatasetVersion.objects.exists()


def test_many_documents_are_frozen_by_a_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labeling.datasets.freeze.BACKGROUND_THRESHOLD", 5)
    bring_in(desk.project, [invoice(number) for number in range(20)])
    client = desk.as_("engineer")
    answer = client.post(desk.url("datasets/"), KNOBS)
    run = FreezeRun.objects.get()
    assert answer["Location"] == run.get_absolute_url()
    assert "A freeze is queued" in client.get(desk.url("datasets/")).content.decode()
    assert 'hx-trigger="every 1s"' in client.get(run.get_absolute_url()).content.decode()
    run_freeze(run.pk)
    run_freeze(run.pk)
    dataset = DatasetVersion.objects.get()
    assert (dataset.counts["documents"], dataset.created_by) == (20, desk.people["engineer"])
    page = client.get(run.get_absolute_url()).content.decode()
    assert "Open dataset v1" in page
    assert "hx-trigger" not in page.split('id="progress"')[1]


def test_a_queued_freeze_can_be_cancelled(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    run = start_freeze(project=desk.project, user=None, rules=Rules(), seed=17, validation_share=0.1, holdout_share=0.2)
    assert desk.as_("annotator").post(desk.url(f"datasets/runs/{run.pk}/cancel/")).status_code == 403
    assert desk.as_("engineer").post(desk.url(f"datasets/runs/{run.pk}/cancel/")).status_code == 302
    run_freeze(run.pk)
    assert not DatasetVersion.objects.exists()
    assert FreezeRun.objects.get().status == "cancelled"


def test_pairs_of_near_duplicates_are_listed(desk: Desk) -> None:
    twin = {**invoice(3), "id": "twin", "text": invoice(3)["text"] + " ."}
    bring_in(desk.project, [invoice(3)], as_holdout=True)
    bring_in(desk.project, [twin, *[{**invoice(n), "text": f"{n} " * 40} for n in range(10, 20)]])
    freeze(project=desk.project, user=desk.people["engineer"])
    page = desk.as_("manager").get(desk.url("datasets/1/")).content.decode()
    assert "1 pair in 1 group; 1 split" in page
    listed = desk.as_("manager").get(desk.url("datasets/1/near-duplicates/?show=apart"))
    ((_, document, other, *_),) = listed.context["pairs"]
    assert {document.external_id, other.external_id} == {"inv-0003", "twin"}
    assert "Total 3.50<mark> .</mark></pre>" in listed.content.decode()
    assert "Near-duplicate of a hold-out document" in listed.content.decode()
    assert desk.as_("manager").get(desk.url("datasets/1/near-duplicates/?page=x")).status_code == 200


def test_script_in_a_document_is_escaped(desk: Desk) -> None:
    text = "<script>alert(1)</script> Invoice F-1 Total 1.50"
    bring_in(desk.project, [{**invoice(1), "text": text}, {**invoice(2), "text": text + " "}, invoice(5), invoice(6)])
    freeze(project=desk.project, user=desk.people["engineer"], validation_share=0, holdout_share=0)
    for path in ("datasets/1/", "datasets/1/near-duplicates/"):
        page = desk.as_("manager").get(desk.url(path)).content.decode()
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert(1)" not in page


def test_two_versions_side_by_side(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("manager")
    assert "A comparison needs two versions" in client.get(desk.url("datasets/diff/")).content.decode()
    bring_in(desk.project, [invoice(100)])
    freeze(project=desk.project, user=desk.people["engineer"])
    page = client.get(desk.url("datasets/diff/?a=1&b=2"))
    assert page.context["diff"].counts == {"changed": 0, "added": 1, "removed": 0, "moved": 0}
    assert "inv-0100" in page.content.decode()
    assert "The hold-out is the same" in page.content.decode()
    backwards = client.get(desk.url("datasets/diff/?a=2&b=1&show=removed"))
    assert [row.external_id for row in backwards.context["rows"]] == ["inv-0100"]
    assert client.get(desk.url("datasets/diff/?a=1&b=9")).status_code == 404
    assert client.get(desk.url("datasets/diff/?a=x&b=1")).status_code == 404
    assert client.get(desk.url("datasets/diff/")).context["b"].number == 2
    assert "Freeze settings" not in page.content.decode()
