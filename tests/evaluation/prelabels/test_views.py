"""The pages of pre-labels and endpoints: each role, bad input, what they say."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from evaluation.inference.completion import Completion, ResponseStatus
from evaluation.models import Endpoint, PrelabelRun
from evaluation.prelabels.services import PrelabelWriter, start_prelabels
from labeling.models import Document
from tests.evaluation.factories import World
from tests.evaluation.fake_openai import Fake, error, says
from tests.evaluation.prelabels.test_services import FRESH, add_fresh, make_endpoint
from tests.shared_rows import shared_fixture

GOOD = '{"invoice_id":"A","date":"2026-01-14","vendor":"V","total_amount":1}'
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def fake(fake: Fake) -> Fake:
    fake.replies = [says(GOOD)]
    return fake


@shared_fixture
def fresh(world: World) -> list[Document]:
    return add_fresh(world)


@shared_fixture
def engineer(world: World) -> Client:
    client = Client()
    client.force_login(world.engineer)
    return client


def url(name: str, *arguments: Any) -> str:
    return reverse(name, args=["invoices", *arguments])


def form(**changes: Any) -> dict[str, Any]:
    return {"model": "version-1", "limit": "5", "examples": "0", "token_budget": "", "query": "", **changes}


def endpoint_form(fake: Fake, **changes: Any) -> dict[str, Any]:
    return {
        "name": "large", "url": fake.url, "model": "m", "key_variable": "", "structured": "auto", "logprobs": "on",
        "timeout_seconds": "5", "concurrency": "2", "max_tokens": "200", **changes,
    }  # fmt: skip


def test_an_engineer_starts_a_run_and_lands_on_its_page(world: World, fresh: list[Document], engineer: Client) -> None:
    page = engineer.get(url("prelabel_new")).content.decode()
    assert f"<strong>{FRESH}</strong> unlabeled documents" in page
    answer = engineer.post(url("prelabel_new"), form())
    assert answer["Location"] == url("prelabel_run", 1)
    run = PrelabelRun.objects.get()
    assert (run.progress_total, run.model_version, run.created_by) == (5, world.version, world.engineer)
    assert "waiting for a worker" in engineer.get(url("prelabel_run", 1)).content.decode()


def test_invalid_input_is_shown_at_its_field(world: World, fresh: list[Document], engineer: Client) -> None:
    for changes, words in (
        ({"model": "version-9"}, "Choose a model from the list"),
        ({"limit": "0"}, "greater than or equal to 1"),
        ({"limit": "many"}, "whole number"),
        ({"query": "below=lots"}, "Score below"),
        ({"query": "q=nowhere+to+be+found"}, "There are no documents in the list"),
        ({"query": "\0state=new", "model": "version-9"}, "Choose a model from the list"),
        ({"token_budget": "-1"}, "greater than or equal to 1"),
        ({"examples": "99"}, "less than or equal to 5"),
    ):
        answer = engineer.post(url("prelabel_new"), form(**changes))
        assert answer.status_code == 422
        assert words in answer.content.decode()
    assert not PrelabelRun.objects.exists()


def run_with(world: World, answers: dict[int, Completion]) -> PrelabelRun:
    run = start_prelabels(project=world.project, user=world.engineer, model_version=world.version)
    assert run.claim()
    store = PrelabelWriter(run)
    for pk, answer in answers.items():
        store.add(pk, answer)
    store.flush()
    return run


def test_the_page_of_a_run_counts_and_filters_what_came_out(
    world: World, fresh: list[Document], engineer: Client
) -> None:
    run = run_with(
        world,
        {
            fresh[0].pk: Completion(ResponseStatus.VALID, text=GOOD, seconds=1.5),
            fresh[1].pk: Completion(ResponseStatus.NOT_JSON, SCRIPT, text=SCRIPT),
            fresh[2].pk: Completion(ResponseStatus.BUSY, "HTTP 503: later", attempts=4),
        },
    )
    live = engineer.get(url("prelabel_run", 1)).content.decode()
    assert 'hx-trigger="every 2s"' in live
    assert f"3 of {FRESH}" in live
    run.finish()
    page = engineer.get(url("prelabel_run", 1)).content.decode()
    assert "33.3%" in page, "one of three fits the schema"
    assert ">Label</a>" in page
    assert "HTTP 503: later" in page
    assert SCRIPT not in page
    assert "hx-trigger" not in page
    filtered = engineer.get(url("prelabel_run", 1), {"outcome": "busy"}).content.decode()
    assert fresh[2].external_id in filtered
    assert fresh[0].external_id not in filtered
    for odd in ("nonsense", "\0", "waiting"):
        assert engineer.get(url("prelabel_run", 1), {"outcome": odd}).status_code == 200


def test_a_withheld_value_is_not_quoted_by_what_is_wrong_with_it(
    world: World, fresh: list[Document], engineer: Client
) -> None:
    world.project.withheld_share = 1
    world.project.save()
    said = "date must be a date; found the string 'Tuesday'"
    broken = GOOD.replace("2026-01-14", "Tuesday")
    run_with(world, {fresh[0].pk: Completion(ResponseStatus.INVALID, said, text=broken)})
    for query in ({}, {"outcome": "invalid"}):
        for state in ("new", "skipped"):  # who skipped it may still label it
            Document.objects.filter(pk=fresh[0].pk).update(state=state)
            page = engineer.get(url("prelabel_run", 1), query).content.decode()
            assert "Tuesday" not in page
            assert "withheld until labeled" in page
    Document.objects.filter(pk=fresh[0].pk).update(state="submitted")
    assert "Tuesday" in engineer.get(url("prelabel_run", 1)).content.decode()


def test_the_list_is_read_by_a_fixed_number_of_queries(
    world: World, fresh: list[Document], engineer: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(6):
        start_prelabels(project=world.project, user=world.engineer, model_version=world.version, again=True)
    with django_assert_max_num_queries(9):
        assert engineer.get(url("prelabels")).status_code == 200
    with django_assert_max_num_queries(11):
        assert engineer.get(url("prelabel_run", 3)).status_code == 200


# -- endpoints ---------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_added_tested_and_removed(world: World, fake: Fake, engineer: Client) -> None:
    answer = engineer.post(url("endpoint_new"), endpoint_form(fake))
    row = Endpoint.objects.get()
    assert answer["Location"] == url("endpoint", row.pk)
    assert (row.logprobs, row.concurrency) == (True, 2)
    assert "Not tested yet" in engineer.get(url("endpoint", row.pk)).content.decode()
    fake.replies = [says(f"{GOOD} {SCRIPT}")]
    engineer.post(url("endpoint_test", row.pk))
    page = engineer.get(url("endpoint", row.pk)).content.decode()
    assert "Valid," in page
    assert SCRIPT not in page
    assert "large" in engineer.get(url("prelabel_new")).content.decode()
    engineer.post(url("endpoint", row.pk), endpoint_form(fake, model="other"))
    row.refresh_from_db()
    assert (row.model, row.created_by) == ("other", world.engineer)
    engineer.post(url("endpoint_remove", row.pk))
    assert engineer.get(url("endpoint", row.pk)).status_code == 404
    assert engineer.post(url("endpoint_test", row.pk)).status_code == 404
    assert "large" not in engineer.get(url("prelabel_new")).content.decode()


def test_a_key_is_never_on_a_page(world: World, fake: Fake, engineer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_KEY_LARGE", "sk-very-secret")
    monkeypatch.setenv("SLM_KEY_LARGE_PROJECTS", "*")
    monkeypatch.setenv("SLM_KEY_LARGE_HOSTS", "127.0.0.1")
    row = make_endpoint(world, fake, key_variable="SLM_KEY_LARGE")
    fake.replies = [error(401, "Incorrect API key provided: sk-very-secret")]
    engineer.post(url("endpoint_test", row.pk))
    for address in (url("endpoint", row.pk), url("prelabels"), url("prelabel_new")):
        assert "sk-very-secret" not in engineer.get(address).content.decode()
    assert "SLM_KEY_LARGE is set" in engineer.get(url("endpoint", row.pk)).content.decode()
