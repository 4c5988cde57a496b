"""The table of runs: access, rows, order, filters, archive, refresh, query count."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from labeling.models import DatasetVersion, Project
from slmstudio.access import Role
from slmstudio.runs.models import Status
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport, TrainingEvent, TrainingRun
from training.run_table.columns import COLUMNS, DEFAULT_COLUMNS
from training.runs.services import start_training

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/"
Login = Callable[[str], Client]


@pytest.fixture
def start(project: Project, dataset: DatasetVersion, lengths: LengthReport, people: dict[str, Any]) -> Any:
    def call(name: str = "", **changes: Any) -> TrainingRun:
        run = start_training(
            project=project,
            user=people["engineer"],
            dataset=dataset,
            base_model=lengths.base_model,
            hyperparameters=Hyperparameters(),
            name=name,
        )
        TrainingRun.objects.filter(pk=run.pk).update(**changes)
        run.refresh_from_db()
        return run

    return call


@pytest.mark.parametrize("role", Role.values)
def test_members_read_and_engineers_have_the_button(start: Any, login: Login, role: str) -> None:
    start("the first")
    page = login(role).get(URL)
    assert page.status_code == 200
    assert "the first" in page.content.decode()
    assert ("New run" in page.content.decode()) == (role in (Role.ENGINEER, Role.OWNER))


def test_stranger_gets_404(start: Any, login: Login) -> None:
    start()
    assert login("stranger").get(URL).status_code == 404


def test_page_without_a_dataset_shows_the_first_step(project: Project, login: Login) -> None:
    page = login("engineer").get(URL).content.decode()
    assert "empty-state" in page
    assert 'href="/p/receipts/datasets/"' in page


def test_rows_show_state_progress_metrics_and_error(start: Any, login: Login) -> None:
    running = start("live one", status=Status.RUNNING, progress_done=30, progress_total=120)
    for step, loss in ((1, 2.5), (30, 0.4321)):
        TrainingEvent.objects.create(run=running, kind="metrics", step=step, data={"loss": loss})
    TrainingEvent.objects.create(run=running, kind="samples", step=30, data={"field_exact": 0.75, "rows": []})
    start("broken", status=Status.FAILED, error="The disk is full.")
    page = login("manager").get(URL).content.decode()
    for words in ("30 of 120", "0.432", "75.0%", "The disk is full."):
        assert words in page, words


def test_filter_is_in_the_url_and_invalid_shows_all(start: Any, login: Login) -> None:
    start("good", status=Status.DONE)
    start("bad", status=Status.FAILED)
    client = login("engineer")
    failed = client.get(URL, {"state": "failed"}).content.decode()
    assert "bad" in failed
    assert ">good<" not in failed
    assert ">good<" in client.get(URL, {"state": "nonsense", "page": "x"}).content.decode()
    assert [*numbers(client, {"state": "live"})] == []


ALL_COLUMNS = ",".join(COLUMNS)


def numbers(client: Client, query: dict[str, str]) -> list[int]:
    """The numbers of the runs in the table, in order."""
    return [run.number for run, _ in client.get(URL, query).context["rows"]]


def copies(run: TrainingRun, count: int) -> list[TrainingRun]:
    """More runs like this one, each with an evaluation."""
    values = {
        field.attname: getattr(run, field.attname) for field in run._meta.concrete_fields if not field.primary_key
    }
    rows = [TrainingRun(**{**values, "number": 100 + index, "job_id": uuid.uuid4()}) for index in range(count)]
    made = TrainingRun.objects.bulk_create(rows)
    events = [TrainingEvent(run=one, kind="samples", step=1, data={"field_exact": one.number / 2000}) for one in made]
    TrainingEvent.objects.bulk_create(events)
    return made


def test_query_count_does_not_grow_with_a_thousand_runs(
    start: Any, login: Login, django_assert_max_num_queries: Any
) -> None:
    first = start("first", status=Status.DONE)
    client = login("engineer")
    client.get(URL, {"columns": ALL_COLUMNS})  # the session keeps the columns
    copies(first, 1000)
    with django_assert_max_num_queries(15):
        assert numbers(client, {"columns": ALL_COLUMNS, "sort": "-best_field_exact"})[:2] == [1099, 1098]


@pytest.mark.parametrize("name", [*COLUMNS, "number", "name", "state"])
def test_every_column_sorts_both_ways(start: Any, login: Login, name: str) -> None:
    start("first", hyperparameters={"learning_rate": 1e-3, "epochs": 3.0})
    start("second", hyperparameters={"learning_rate": 2e-4, "epochs": 10.0})
    client = login("reviewer")
    assert sorted(numbers(client, {"sort": name, "columns": name})) == [1, 2]
    assert sorted(numbers(client, {"sort": f"-{name}"})) == [1, 2]


def test_hyperparameters_sort_as_numbers(start: Any, login: Login) -> None:
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
    start("alpha", tags=["baseline"], notes="the long one")
    start("beta", hyperparameters={"method": "full"})
    client = login("annotator")
    assert numbers(client, {"tag": "baseline"}) == [1]
    assert numbers(client, {"q": "LONG"}) == [1]
    assert numbers(client, {"q": "2"}) == [2]
    assert numbers(client, {"method": "full"}) == [2]
    assert numbers(client, {"base_model": "nothing"}) == []


def test_archived_runs_are_hidden_and_come_back(start: Any, login: Login) -> None:
    start(status=Status.DONE)
    start(status=Status.DONE)
    client = login("engineer")
    client.post(f"{URL}runs/", {"action": "archive", "runs": ["1"]})
    assert numbers(client, {}) == [2]
    assert numbers(client, {"archived": "1"}) == [1]
    client.post(f"{URL}runs/", {"action": "restore", "runs": ["1"]})
    assert numbers(client, {}) == [2, 1]


def test_live_run_is_not_archived(start: Any, login: Login) -> None:
    start(status=Status.RUNNING)
    client = login("engineer")
    client.post(f"{URL}runs/", {"action": "archive", "runs": ["1"]})
    client.post(f"{URL}1/notes/", {"archive": ""})
    assert numbers(client, {}) == [1]


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
    values = {"name": "best yet", "tags": "a, b", "notes": "Longer\r\ntexts first."}
    assert login("reviewer").post(f"{URL}1/notes/", values).status_code == 403
    login("engineer").post(f"{URL}1/notes/", values)
    run.refresh_from_db()
    assert (run.name, run.tags, run.notes) == ("best yet", ["a", "b"], "Longer\ntexts first.")
    assert "Longer" in login("reviewer").get(f"{URL}1/").content.decode()


def test_user_names_are_escaped(start: Any, login: Login) -> None:
    start("<script>alert(1)</script>")
    page = login("engineer").get(URL).content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
