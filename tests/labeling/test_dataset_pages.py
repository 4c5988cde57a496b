"""Datasets through the pages: freezing, reading, exporting, by role."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.models import DatasetVersion
from labeling.services.datasets import file_path, freeze
from slmstudio import artifacts
from tests.labeling.desk import Desk, bring_in, invoice, make_desk

pytestmark = pytest.mark.django_db

KNOBS = {"seed": 17, "validation": "10", "holdout": "20"}


@pytest.fixture
def desk() -> Desk:
    return make_desk()


@pytest.fixture
def frozen(desk: Desk) -> DatasetVersion:
    bring_in(desk.project, [invoice(number, tags=["ocr_noise"]) for number in range(20)])
    return freeze(project=desk.project, user=desk.people["engineer"])


@pytest.mark.parametrize("role", ["annotator", "reviewer", "manager"])
def test_others_read_and_may_not_freeze(desk: Desk, role: str) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    client = desk.as_(role)
    page = client.get(desk.url("datasets/")).content.decode()
    assert "What a new version would take in" in page
    assert '<button class="btn btn-primary"' not in page
    assert client.post(desk.url("datasets/"), KNOBS).status_code == 403
    assert not DatasetVersion.objects.exists()


@pytest.mark.parametrize("role", ["engineer", "owner"])
def test_engineers_and_owners_freeze(desk: Desk, role: str) -> None:
    bring_in(desk.project, [invoice(number) for number in range(20)])
    answer = desk.as_(role).post(desk.url("datasets/"), KNOBS)
    assert (answer.status_code, answer["Location"]) == (302, desk.url("datasets/1/"))
    assert DatasetVersion.objects.get().created_by == desk.people[role]


def test_the_page_counts_what_would_go_in(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2), invoice(3, gold=False)])
    bring_in(desk.project, [invoice(4)], as_holdout=True)
    bring_in(desk.project, [invoice(5)], synthetic=True)
    ahead = desk.as_("engineer").get(desk.url("datasets/")).context["preview"]
    assert (ahead.documents, ahead.held_out, ahead.earlier_schema) == (4, 1, 0)
    assert ahead.origins == {"imported": 3, "synthetic": 1}


def test_freezing_again_with_nothing_new_says_so(desk: Desk, frozen: DatasetVersion) -> None:
    answer = desk.as_("engineer").post(desk.url("datasets/"), {**KNOBS, "holdout": "0"}, follow=True)
    assert "Nothing has changed since dataset v1" in answer.content.decode()
    assert DatasetVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": "x"}, "whole number"),
        ({"validation": "60"}, "less than or equal to 50"),
        ({"holdout": "-1"}, "greater than or equal to 0"),
    ],
)
def test_bad_knobs_say_why(desk: Desk, changes: dict[str, str], said: str) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    answer = desk.as_("engineer").post(desk.url("datasets/"), {**KNOBS, **changes})
    assert answer.status_code == 422
    assert said in answer.content.decode()


def test_nothing_to_freeze_is_said(desk: Desk) -> None:
    answer = desk.as_("engineer").post(desk.url("datasets/"), KNOBS)
    assert answer.status_code == 422
    assert "No document is labelled yet" in answer.content.decode()


def test_a_version_shows_counts_hashes_and_examples(desk: Desk, frozen: DatasetVersion) -> None:
    page = desk.as_("manager").get(desk.url("datasets/1/"))
    text = page.content.decode()
    assert frozen.sha256[:12] in text
    assert frozen.holdout_sha256[:12] in text
    for words in ("Instruction", "Input", "Output", "ocr_noise", "imported"):
        assert words in text
    first = page.context["examples"][0]
    assert json.loads(first["output"]) == json.loads(json.dumps(first["gold"], default=float))


def test_examples_by_split_and_page(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("manager")
    fragment = client.get(desk.url("datasets/1/?split=holdout"), headers={"HX-Request": "true"})
    page = fragment.content.decode()
    assert "<html" not in page
    assert page.count('<span class="tag">holdout</span>') == 4
    assert '<span class="tag">train</span>' not in page
    assert client.get(desk.url("datasets/1/?page=999")).context["page"] == 4
    assert client.get(desk.url("datasets/1/?page=x&split=nonsense")).context["page"] == 1


def test_synthetic_holdout_is_shown(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    bring_in(desk.project, [invoice(2)], as_holdout=True, synthetic=True)
    freeze(project=desk.project, user=desk.people["engineer"])
    assert "In the hold-out: 1 synthetic" in desk.as_("manager").get(desk.url("datasets/1/")).content.decode()


def test_a_version_whose_file_is_gone_still_has_a_page(desk: Desk, frozen: DatasetVersion) -> None:
    artifacts.store().delete(frozen.artifact_key)
    client = desk.as_("manager")
    answer = client.get(desk.url("datasets/1/"))
    assert answer.status_code == 200
    assert "gone from the artifact store" in answer.content.decode()
    assert client.get(desk.url("datasets/1/export/rows.jsonl")).status_code == 404


@pytest.mark.parametrize("shape", ["instruct", "chat", "prompt_completion", "rows"])
def test_exports_are_streamed(desk: Desk, frozen: DatasetVersion, shape: str) -> None:
    answer = desk.as_("annotator").get(desk.url(f"datasets/1/export/{shape}.jsonl"))
    assert answer.streaming
    assert f"desk-v1-{shape}.jsonl" in answer["Content-Disposition"]
    data = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    assert len(data.splitlines()) == 20
    if shape == "rows":
        assert data == file_path(frozen).read_bytes()


def test_an_export_of_one_split(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("annotator")
    answer = client.get(desk.url("datasets/1/export/rows.jsonl?split=train"))
    rows = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]  # type: ignore[attr-defined]
    assert {row["split"] for row in rows} == {"train"}
    assert client.get(desk.url("datasets/1/export/rows.jsonl?split=test")).status_code == 404


def test_unknown_shapes_and_versions_are_not_there(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("annotator")
    assert client.get(desk.url("datasets/1/export/csv.jsonl")).status_code == 404
    assert client.get(desk.url("datasets/2/")).status_code == 404


def test_the_list_takes_the_same_queries_for_many_versions(desk: Desk, frozen: DatasetVersion) -> None:
    client = desk.as_("engineer")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(desk.url("datasets/"))
        return len(captured)

    before = queries()
    for seed in range(5):
        freeze(project=desk.project, user=desk.people["engineer"], seed=seed)
    assert DatasetVersion.objects.count() > 3
    assert queries() == before <= 8
