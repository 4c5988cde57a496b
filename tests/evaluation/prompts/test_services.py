"""An optimized prompt, from its search over a real HTTP server to a candidate of a benchmark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from evaluation.models import Endpoint, OptimizedPrompt
from evaluation.prompts import study as prompt_study
from evaluation.prompts.study import PROMPT
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries as dataset_queries
from labeling.datasets.freeze import freeze
from labeling.models import Split, Study
from labeling.studies import services
from labeling.studies.kinds import Stopped
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs import supervisor
from slmstudio.runs.models import Status
from tests.evaluation import fake_openai as fakes
from tests.evaluation.benchmark_desk import started
from tests.evaluation.factories import World, endpoint, make_world
from tests.evaluation.fake_openai import Fake, says
from tests.shared_rows import shared_fixture


@shared_fixture
def world(db: None, tmp_path: Path) -> World:
    """60 documents, 8 held out and a third of the others for validation."""
    made = make_world(tmp_path / "base", documents=60, holdout=8)
    made.dataset = freeze(project=made.project, user=made.engineer, validation_share=0.3)
    return made


@pytest.fixture
def fake(world: World, quick: None) -> Iterator[Fake]:
    """Is right only where the instruction lists the fields."""
    gold = {row["text"]: dumps(row["gold"]) for row in dataset_queries.rows(world.dataset)}

    def answers(handler: Any, body: dict[str, Any]) -> None:
        is_told = "Fields:" in body["messages"][0]["content"]
        says(gold[body["messages"][-1]["content"]] if is_told else "{}")(handler, body)

    with fakes.running() as server:
        server.replies = [answers]
        yield server


def searching(world: World, candidate: Any, **changes: Any) -> Study:
    key = f"endpoint-{candidate.pk}" if isinstance(candidate, Endpoint) else f"base-{candidate.slug}"
    spec: dict[str, Any] = {"model": key, "documents": 10, "trials": 3, **changes}
    return services.start(project=world.project, user=world.engineer, kind=PROMPT, spec=spec)


def test_from_the_search_to_a_benchmark(world: World, fake: Fake) -> None:
    study = searching(world, endpoint(world, fake.url))
    services.run_study(study.pk)
    study.refresh_from_db()
    assert (study.status, study.error, len(study.trials)) == (Status.DONE, "", 3)
    assert len(fake.asked) == 30
    prompt = OptimizedPrompt.objects.get()
    splits = set(world.dataset.items.filter(document__in=prompt.documents).values_list("split", flat=True))
    assert splits == {Split.VALIDATION}
    best = max(study.trials, key=lambda trial: trial["accuracy"])
    assert "Fields:" in prompt.instruction
    assert best["prompt"]["instruction"] == prompt.instruction
    assert (best["accuracy"], study.trials[0]["accuracy"]) == (1.0, 0.0)
    assert best["cost"] == pytest.approx(10 * (100 * 2.5 + 20 * 10.0) / 1e6)

    benchmark = started(world, prompt, prompt.endpoint)
    assert not set(benchmark.documents) & {*prompt.documents, *prompt.examples}
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
    assert client.get(study.get_absolute_url()).status_code == 200
    assert client.get(benchmark.get_absolute_url()).status_code == 200
    cheap = searching(world, prompt.endpoint, cost=0.000001)
    services.run_study(cheap.pk)
    cheap.refresh_from_db()
    assert (cheap.status, len(cheap.trials)) == (Status.DONE, 1), "its budget ends it"


@pytest.mark.parametrize("changed", [False, True])
def test_an_interrupted_search_goes_on_with_the_next_trial(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    study = searching(world, endpoint(world, fake.url))
    try_prompt = prompt_study._try

    def interrupted(study: Study, *args: Any) -> Any:
        if study.trials:
            supervisor.request_stop()
            raise Stopped
        return try_prompt(study, *args)

    monkeypatch.setattr(prompt_study, "_try", interrupted)
    try:
        services.run_study(study.pk)
    finally:
        supervisor._stop_requested.clear()
    study.refresh_from_db()
    assert (study.status, len(study.trials), len(fake.asked)) == (Status.QUEUED, 1, 10)
    monkeypatch.setattr(prompt_study, "_try", try_prompt)
    if changed:  # the trial is of another model then
        Endpoint.objects.update(model="fake-2")
    services.run_study(study.pk)
    study.refresh_from_db()
    assert (study.status, study.error, len(study.trials)) == (Status.DONE, "", 4 if changed else 3)
    assert len(fake.asked) == (40 if changed else 30)
    assert "Fields:" in OptimizedPrompt.objects.get().instruction


def test_a_prompt_that_is_not_there_yet_and_impossible_orders_are_refused(world: World) -> None:
    for changes, field in (
        ({"documents": 5}, "documents"),
        ({"documents": 60}, "documents"),
        ({"trials": 1}, "trials"),
        ({"cost": 0}, "cost"),
        ({"model": "base-other"}, "model"),
    ):
        with pytest.raises(Refused) as refused:
            searching(world, world.base_model, **changes)
        assert refused.value.field == field
    assert not Study.objects.exists()
    prompt = OptimizedPrompt.objects.get(study=searching(world, world.base_model))
    with pytest.raises(Refused) as refused:
        start_evaluation(project=world.project, user=world.engineer, dataset=world.dataset, model=prompt)
    assert refused.value.field == "model"
