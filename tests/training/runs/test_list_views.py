"""The list of runs: access, rows, refresh, query count."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from labeling.models import DatasetVersion, Project
from slmstudio.access import Role
from slmstudio.runs.models import Status
from training.hyperparameters.values import Hyperparameters
from training.models import LengthReport, TrainingEvent, TrainingRun
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
    assert "No training run yet" in page
    assert 'href="/p/receipts/datasets/"' in page


def test_page_with_a_dataset_offers_the_first_run(dataset: DatasetVersion, login: Login) -> None:
    assert 'href="/p/receipts/training/new/"' in login("engineer").get(URL).content.decode()
    assert 'href="/p/receipts/training/new/"' not in login("annotator").get(URL).content.decode()


def test_rows_show_state_progress_metrics_and_error(start: Any, login: Login) -> None:
    running = start("live one", status=Status.RUNNING, progress_done=30, progress_total=120)
    for step, loss in ((1, 2.5), (30, 0.4321)):
        TrainingEvent.objects.create(run=running, kind="metrics", step=step, data={"loss": loss})
    TrainingEvent.objects.create(run=running, kind="samples", step=30, data={"field_exact": 0.75, "rows": []})
    start("broken", status=Status.FAILED, error="The disk is full.")
    page = login("manager").get(URL).content.decode()
    for words in ("30 of 120", "0.432", "75 %", "The disk is full."):
        assert words in page, words


def test_only_a_live_list_refreshes(start: Any, login: Login) -> None:
    run = start()
    client = login("engineer")
    assert "every 2s" in client.get(URL).content.decode()
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.DONE)
    assert "every 2s" not in client.get(URL).content.decode()


def test_fragment_is_the_table(start: Any, login: Login) -> None:
    start("only me")
    fragment = login("engineer").get(URL, headers={"HX-Request": "true"}).content.decode()
    assert "only me" in fragment
    assert "<html" not in fragment


def test_filter_is_in_the_url_and_invalid_shows_all(start: Any, login: Login) -> None:
    start("good", status=Status.DONE)
    start("bad", status=Status.FAILED)
    client = login("engineer")
    failed = client.get(URL, {"state": "failed"}).content.decode()
    assert "bad" in failed
    assert ">good<" not in failed
    assert ">good<" in client.get(URL, {"state": "nonsense", "page": "x"}).content.decode()
    assert "No run in this state" in client.get(URL, {"state": "live"}).content.decode()


def test_queue_without_a_worker_is_shown(start: Any, login: Login) -> None:
    start()
    assert "No worker for the queue gpu" in login("engineer").get(URL).content.decode()


def test_query_count_is_constant(start: Any, login: Login, django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        start(f"run {number}", status=Status.DONE)
    client = login("engineer")
    client.get(URL)
    with django_assert_max_num_queries(10):
        client.get(URL)


def test_user_names_are_escaped(start: Any, login: Login) -> None:
    start("<script>alert(1)</script>")
    page = login("engineer").get(URL).content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
