"""The table of runs: rows, order, filters, archive, tags, query count."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from labeling.models import Project
from slmstudio.runs.models import Status
from tests.training.fakes import start_run
from training.models import LengthReport, TrainingEvent, TrainingRun
from training.run_table.columns import COLUMNS, DEFAULT_COLUMNS

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/"
Login = Callable[[str], Client]


@pytest.fixture
def start(lengths: LengthReport) -> Any:
    def call(name: str = "", **changes: Any) -> TrainingRun:
        run = start_run(lengths, name=name)
        TrainingRun.objects.filter(pk=run.pk).update(**changes)
        run.refresh_from_db()
        return run

    return call


def numbers(client: Client, query: dict[str, str]) -> list[int]:
    """The numbers of the runs in the table, in order."""
    return [run.number for run, _ in client.get(URL, query).context["rows"]]


def test_page_without_a_dataset_shows_the_first_step(project: Project, login: Login) -> None:
    page = login("engineer").get(URL).content.decode()
    assert "empty-state" in page
    assert 'href="/p/receipts/datasets/"' in page


def test_rows_show_state_progress_metrics_and_error(start: Any, login: Login) -> None:
    running = start("<b>live", status=Status.RUNNING, progress_done=30, progress_total=120)
    for step, loss in ((1, 2.5), (30, 0.4321)):
        TrainingEvent.objects.create(run=running, kind="metrics", step=step, data={"loss": loss})
    TrainingEvent.objects.create(run=running, kind="samples", step=30, data={"field_exact": 0.75, "rows": []})
    start("broken", status=Status.FAILED, error="The disk is full.")
    page = login("manager").get(URL).content.decode()
    for words in ("30 of 120", "0.432", "75.0%", "The disk is full.", "&lt;b&gt;live"):
        assert words in page, words
    assert "<b>live" not in page
    assert "New run" not in page
    assert "New run" in login("engineer").get(URL).content.decode()


def test_query_count_does_not_grow_with_the_runs(start: Any, login: Login, django_assert_max_num_queries: Any) -> None:
    run = start("first", status=Status.DONE)
    every_column = {"columns": ",".join(COLUMNS)}
    client = login("engineer")
    client.get(URL, every_column)  # the session keeps the columns
    values = {
        field.attname: getattr(run, field.attname) for field in run._meta.concrete_fields if not field.primary_key
    }
    copies = [TrainingRun(**{**values, "number": 100 + index, "job_id": uuid.uuid4()}) for index in range(200)]
    TrainingEvent.objects.bulk_create(
        TrainingEvent(run=copy, kind="samples", step=1, data={"field_exact": copy.number / 2000})
        for copy in TrainingRun.objects.bulk_create(copies)
    )
    with django_assert_max_num_queries(15):
        assert numbers(client, {**every_column, "sort": "-best_field_exact"})[:2] == [299, 298]


def test_every_column_sorts(start: Any, login: Login) -> None:
    start("first", hyperparameters={"learning_rate": 1e-3, "epochs": 3.0})
    start("second", hyperparameters={"learning_rate": 2e-4, "epochs": 10.0})
    client = login("reviewer")
    for name in [*COLUMNS, "number", "name", "state"]:
        assert sorted(numbers(client, {"sort": name, "columns": name})) == [1, 2], name


def test_hyperparameters_sort_as_numbers_both_ways(start: Any, login: Login) -> None:
    for epochs in (3.0, 10.0, 2.0):
        start(hyperparameters={"epochs": epochs})
    client = login("engineer")
    assert numbers(client, {"sort": "epochs"}) == [3, 1, 2]
    assert numbers(client, {"sort": "-epochs"}) == [2, 1, 3]


def test_missing_values_come_last(start: Any, login: Login) -> None:
    for value in (0.5, None, 0.9):
        run = start()
        if value is not None:
            TrainingEvent.objects.create(run=run, kind="samples", step=1, data={"field_exact": value})
    assert numbers(login("engineer"), {"sort": "field_exact"}) == [1, 3, 2]
    assert numbers(login("engineer"), {"sort": "-field_exact"}) == [3, 1, 2]


def test_columns_are_kept_for_the_person(start: Any, login: Login) -> None:
    start()
    client = login("engineer")
    assert client.get(URL, {"columns": "seed,nonsense"}).context["table"].columns == ("seed",)
    assert client.get(URL).context["table"].columns == ("seed",)
    assert login("owner").get(URL).context["table"].columns == DEFAULT_COLUMNS
    assert client.get(URL, {"columns": "default"}).context["table"].columns == DEFAULT_COLUMNS


def test_filters(start: Any, login: Login) -> None:
    start("alpha", tags=["baseline"], notes="the long one", status=Status.DONE)
    start("beta", hyperparameters={"method": "full"}, status=Status.FAILED)
    client = login("annotator")
    for query, expected in (
        ({"tag": "baseline"}, [1]),
        ({"q": "LONG"}, [1]),
        ({"q": "2"}, [2]),
        ({"method": "full"}, [2]),
        ({"base_model": "nothing"}, []),
        ({"state": "failed"}, [2]),
        ({"state": "live"}, []),
        ({"state": "nonsense", "page": "x"}, [2, 1]),
    ):
        assert numbers(client, query) == expected, query


def test_ended_runs_are_archived_and_restored(start: Any, login: Login) -> None:
    start(status=Status.DONE)
    start(status=Status.RUNNING)
    client = login("engineer")
    client.post(f"{URL}runs/", {"action": "archive", "runs": ["1", "2"]})
    client.post(f"{URL}2/notes/", {"archive": ""})
    assert numbers(client, {}) == [2]
    assert numbers(client, {"archived": "1"}) == [1]
    client.post(f"{URL}runs/", {"action": "restore", "runs": ["1"]})
    assert numbers(client, {}) == [2, 1]


def test_tags_of_several_runs(start: Any, login: Login) -> None:
    first, second = start(tags=["old"]), start()
    client = login("engineer")
    client.post(f"{URL}runs/", {"action": "tag", "tags": "good, new  one", "runs": ["1", "2"]})
    client.post(f"{URL}runs/", {"action": "untag", "tags": "old", "runs": ["1", "2"]})
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.tags, second.tags) == (["good", "new one"], ["good", "new one"])
    client.post(f"{URL}runs/", {"action": "tag", "tags": "x" * 41, "runs": ["1"]})
    first.refresh_from_db()
    assert first.tags == ["good", "new one"]


def test_notes_of_a_run(start: Any, login: Login) -> None:
    run = start()
    login("engineer").post(f"{URL}1/notes/", {"name": "best yet", "tags": "a, b", "notes": "Longer\r\ntexts first."})
    run.refresh_from_db()
    assert (run.name, run.tags, run.notes) == ("best yet", ["a", "b"], "Longer\ntexts first.")
    assert "Longer" in login("reviewer").get(f"{URL}1/").content.decode()
