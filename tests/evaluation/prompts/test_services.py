"""An optimized prompt, from its search over a real HTTP server to a candidate of a benchmark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from evaluation.endpoints.services import save_endpoint
from evaluation.models import Endpoint, PromptSearch
from evaluation.prompts import jobs, services
from evaluation.prompts.jobs import run_search
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries as dataset_queries
from labeling.datasets.freeze import freeze
from labeling.models import Split
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from tests.evaluation import fake_openai as fakes
from tests.evaluation.benchmark_desk import started
from tests.evaluation.factories import World, make_world
from tests.evaluation.fake_openai import Fake, says


@pytest.fixture
def world(db: None, tmp_path: Path, settings: Any) -> World:
    """60 documents, 8 held out and a third of the others for validation."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    made = make_world(tmp_path / "base", documents=60, holdout=8)
    made.dataset = freeze(project=made.project, user=made.engineer, validation_share=0.3)
    return made


@pytest.fixture
def fake(world: World) -> Iterator[Fake]:
    """Is right only where the instruction lists the fields."""
    gold = {row["text"]: dumps(row["gold"]) for row in dataset_queries.rows(world.dataset)}

    def answers(handler: Any, body: dict[str, Any]) -> None:
        is_told = "Fields:" in body["messages"][0]["content"]
        says(gold[body["messages"][-1]["content"]] if is_told else "{}")(handler, body)

    with fakes.running() as server:
        server.replies = [answers]
        yield server


def endpoint(world: World, url: str) -> Endpoint:
    values: dict[str, Any] = {
        "name": "today", "url": url, "model": "fake-1", "key_variable": "", "structured": "auto", "logprobs": True,
        "timeout_seconds": 60, "at_once": 4, "max_tokens": 200, "price_in": 2.5, "price_out": 10.0,
    }  # fmt: skip
    return save_endpoint(project=world.project, user=world.engineer, **values)


def searching(world: World, model: Any, **changes: Any) -> PromptSearch:
    order: dict[str, Any] = {"dataset": world.dataset, "documents": 10, "max_trials": 3, **changes}
    return services.start_search(project=world.project, user=world.engineer, model=model, **order)


def test_from_the_search_to_a_benchmark(world: World, fake: Fake) -> None:
    made = searching(world, endpoint(world, fake.url))
    splits = set(world.dataset.items.filter(document__in=made.documents).values_list("split", flat=True))
    assert splits == {Split.VALIDATION}
    run_search(made.pk)
    made.refresh_from_db()
    assert (made.status, made.error, len(made.trials)) == (Status.DONE, "", 3)
    assert len(fake.asked) == 30
    best = max(made.trials, key=lambda trial: trial["accuracy"])
    assert "Fields:" in made.instruction
    assert (best["prompt"]["instruction"], best["accuracy"], made.trials[0]["accuracy"]) == (made.instruction, 1.0, 0.0)
    assert best["cost"] == pytest.approx(10 * (100 * 2.5 + 20 * 10.0) / 1e6)

    benchmark = started(world, made, made.endpoint)
    assert not set(benchmark.documents) & {*made.documents, *made.examples}
    prompted, plain = benchmark.runs.order_by("number")
    for run in (prompted, plain):
        run_evaluation(run.pk)
        run.refresh_from_db()
    assert (prompted.scores["document_exact"]["k"], plain.scores["document_exact"]["k"]) == (20, 0)
    assert prompted.backend.key != plain.backend.key
    assert prompted.backend.spec_hash(prompted) != plain.backend.spec_hash(plain)
    benchmark.refresh_from_db()
    assert (benchmark.status, benchmark.result["run"]) == (Status.DONE, prompted.number)

    client = Client()
    client.force_login(world.engineer)
    assert client.get(made.get_absolute_url()).status_code == 200
    assert client.get(benchmark.get_absolute_url()).status_code == 200


def test_budget_ends_a_search(world: World, fake: Fake) -> None:
    made = searching(world, endpoint(world, fake.url), max_cost=0.000001)
    run_search(made.pk)
    made.refresh_from_db()
    assert (made.status, len(made.trials)) == (Status.DONE, 1)


@pytest.mark.parametrize("changed", [False, True])
def test_an_interrupted_search_goes_on_with_the_next_trial(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    made = searching(world, endpoint(world, fake.url))
    asked_of = jobs._try

    def interrupted(run: PromptSearch, prompt: Any, rows: Any) -> Any:
        if run.trials:
            return ChildExit(ok=False, interrupted=True), None
        return asked_of(run, prompt, rows)

    monkeypatch.setattr(jobs, "_try", interrupted)
    run_search(made.pk)
    made.refresh_from_db()
    assert (made.status, len(made.trials), len(fake.asked)) == (Status.QUEUED, 1, 10)
    monkeypatch.setattr(jobs, "_try", asked_of)
    if changed:  # the trial is of another model then
        Endpoint.objects.update(model="fake-2")
    run_search(made.pk)
    made.refresh_from_db()
    assert (made.status, made.error, len(made.trials)) == (Status.DONE, "", 3)
    assert len(fake.asked) == (40 if changed else 30)
    assert "Fields:" in made.instruction


def test_prompt_that_is_not_found_yet_is_no_model(world: World) -> None:
    made = searching(world, world.base_model)
    with pytest.raises(Refused) as refused:
        start_evaluation(project=world.project, user=world.engineer, dataset=world.dataset, model=made)
    assert refused.value.field == "model"
    assert services.cancel(run=made, user=world.engineer)
    made.refresh_from_db()
    assert made.status == Status.CANCELLED


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"documents": 5}, "documents"),
        ({"documents": 60}, "documents"),
        ({"max_trials": 1}, "max_trials"),
        ({"max_minutes": 0}, "max_minutes"),
        ({"max_cost": 0}, "max_cost"),
    ],
)
def test_impossible_orders_are_refused(world: World, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused:
        searching(world, world.base_model, **changes)
    assert refused.value.field == field
    assert not PromptSearch.objects.exists()


def test_form_starts_a_search(world: World) -> None:
    client = Client()
    client.force_login(world.engineer)
    address = f"/p/{world.project.slug}/benchmark/prompts/new/"
    page = client.get(address)
    assert page.status_code == 200
    sent = {"model": f"base-{world.base_model.slug}", "documents": 10, "max_trials": 3, "max_minutes": 5}
    assert client.post(address, sent).status_code == 302
    assert client.post(address, {**sent, "max_trials": 500}).status_code == 422
    assert PromptSearch.objects.get().base_model == world.base_model
