"""The comparison of runs: runs in the URL, unavailable runs, differences."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.test import Client

from labeling.projects.services import create_project
from slmstudio.runs.models import Status
from tests.training.fakes import start_run
from training.models import LengthReport, TrainingEvent, TrainingRun

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/overlay/"
HTMX = {"HX-Request": "true"}
Login = Callable[[str], Client]


@pytest.fixture
def start(lengths: LengthReport) -> Any:
    return partial(start_run, lengths)


def points(run: TrainingRun, *losses: float) -> None:
    for step, loss in enumerate(losses, start=1):
        values = {"loss": loss, "tokens_per_second": 100.0, "memory_bytes": step * 2**30}
        TrainingEvent.objects.create(run=run, kind="metrics", step=step, data=values)
        TrainingEvent.objects.create(run=run, kind="validation", step=step, data={"loss": loss})
    TrainingEvent.objects.create(run=run, kind="samples", step=1, data={"field_exact": 0.75, "rows": []})


def test_members_see_the_runs_of_the_url(start: Any, login: Login) -> None:
    start(), start()
    page = login("annotator").get(URL, {"runs": "2,1"})
    html = page.content.decode()
    assert page.status_code == 200
    assert [run.number for run in page.context["runs"]] == [2, 1]
    for number in (1, 2):
        assert f'data-run="/p/receipts/training/{number}/curves.json"' in html
    assert 'role="alert"' not in html


def test_checkboxes_become_one_url(start: Any, login: Login) -> None:
    start(), start()
    answer = login("manager").get(f"{URL}?runs=1&runs=2")
    assert (answer.status_code, answer["Location"]) == (302, f"{URL}?runs=1,2")
    assert login("manager").get(f"{URL}?runs=1%0d%0aX:y&runs=2").status_code == 302


def test_unavailable_runs_are_reported_and_the_rest_is_shown(start: Any, login: Login, people: dict[str, Any]) -> None:
    for _ in range(6):
        start()
    client = login("engineer")
    for runs, words, shown in (
        ("1,9", "Not found in this project: run 9.", [1]),
        ("<b>,-2,,2", "Not a run number: “&lt;b&gt;”", [2]),
        ("99999999999999999999,2", "Not a run number: “9999", [2]),
        ("1,2,3,4,5,6", "At most 5 runs can be compared; ignored: 6.", [1, 2, 3, 4, 5]),
    ):
        page = client.get(URL, {"runs": runs})
        assert [run.number for run in page.context["runs"]] == shown, runs
        assert words in page.content.decode(), runs
    create_project(owner=people["engineer"], name="Other", slug="other", template="receipt")
    page = client.get("/p/other/training/overlay/", {"runs": "1"})
    assert "Not found in this project: run 1." in page.content.decode()
    assert not page.context["runs"]


def test_only_differences_are_listed(start: Any, login: Login) -> None:
    start(), start(learning_rate=3e-4, epochs=5.0)
    page = login("engineer").get(URL, {"runs": "1,2"})
    assert dict(page.context["differences"]) == {
        "Learning rate": ("0.001", "0.0003"),
        "Epochs": ("3", "5"),
    }
    start()
    assert "No differences." in login("engineer").get(URL, {"runs": "1,3"}).content.decode()


def test_table_has_best_evaluation_fields_time_and_memory(start: Any, login: Login) -> None:
    run = start()
    points(run, 2.5, 1.25, 1.5)
    run.status, run.facts = Status.DONE, {"seconds": 90, "tokens": 18_000}
    run.save()
    [line] = login("engineer").get(URL, {"runs": "1"}).context["lines"]
    final = line["final"]
    assert (final["best_validation"], final["best_step"], final["field_exact"], final["loss"]) == (1.25, 2, 0.75, 1.5)
    assert (final["seconds"], final["memory_bytes"], final["tokens_per_second"]) == (90, 3 * 2**30, 200)


def test_query_count_is_constant(start: Any, login: Login, django_assert_max_num_queries: Any) -> None:
    for _ in range(5):
        points(start(), 2.0, 1.0)
    client = login("engineer")
    with django_assert_max_num_queries(11):
        assert client.get(URL, {"runs": "1,2,3,4,5"}).status_code == 200


def test_run_is_compared_on_its_page(start: Any, login: Login) -> None:
    start(), start(seed=4)
    client = login("manager")
    assert "Compare settings and curves." in client.get("/p/receipts/training/2/").content.decode()
    page = client.get("/p/receipts/training/2/", {"against": "1"})
    assert dict(page.context["differences"]) == {"Seed": ("4", "17")}
    assert "?runs=2,1" in page.content.decode()
    fragment = client.get("/p/receipts/training/2/", {"part": "against", "against": "1"}, headers=HTMX)
    assert "<html" not in fragment.content.decode()
    assert client.get("/p/receipts/training/2/", {"against": "77"}).status_code == 200
