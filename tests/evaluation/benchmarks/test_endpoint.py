"""A model elsewhere in a benchmark: asked one document at a time, judged as written, priced by its tokens."""

from collections.abc import Iterator
from typing import Any

import pytest

from evaluation.benchmarks import results
from evaluation.benchmarks.services import cancel
from evaluation.models import EvalOutput
from evaluation.runs import outputs, run_documents
from evaluation.runs.jobs import run_evaluation
from labeling.datasets import queries as dataset_queries
from slmstudio.contract.json_text import dumps
from slmstudio.runs.heartbeat import Heartbeat
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation import fake_openai as fakes
from tests.evaluation.benchmark_desk import MODES, started
from tests.evaluation.factories import World, endpoint
from tests.evaluation.fake_openai import Fake, says


@pytest.fixture
def fake(wide: World, quick: None) -> Iterator[Fake]:
    """Knows the gold of every document, and writes it into a fence where it is not held to the schema."""
    gold = {row["text"]: dumps(row["gold"]) for row in dataset_queries.rows(wide.dataset)}

    def knows(handler: Any, body: dict[str, Any]) -> None:
        answer = gold[body["messages"][-1]["content"]]
        says(answer if "response_format" in body else f"```json\n{answer}\n```")(handler, body)

    with fakes.running() as server:
        server.replies = [knows]
        yield server


def test_it_is_asked_as_base_models_are_and_judged_as_it_writes(wide: World, fake: Fake) -> None:
    made = started(wide, endpoint(wide, fake.url), modes=MODES)
    for run in made.runs.order_by("number"):
        run_evaluation(run.pk)
    held, free = made.runs.order_by("number")
    assert (held.status, held.scores["document_exact"]["k"], held.scores["documents"]) == (Status.DONE, 20, 20)
    assert (free.scores["schema_valid"]["k"], free.scores["errors"]["format"] > 0) == (0, True)
    assert fake.most_at_work == 1
    assert [body.get("response_format", {}).get("type") for body in fake.asked] == ["json_schema"] * 20 + [None] * 20
    turns = fake.asked[0]["messages"]
    shown = [turn["content"] for turn in turns if turn["role"] == "user"]
    assert shown[:2] == [example["text"] for example in run_documents.few_shot_examples(held)]
    rows = list(EvalOutput.objects.filter(eval_run=held))
    assert all(row.latency_ms > 0 and (row.prompt_tokens, row.output_tokens) == (100, 20) for row in rows)
    assert len(artifacts.local_path(held.outputs_key).read_text().splitlines()) == 20
    cost = results.cost_of(held, {})
    assert cost.per_thousand == pytest.approx(1000 * (100 * 2.5 + 20 * 10.0) / 1e6)


def test_it_stops_where_the_benchmark_is_cancelled(wide: World, fake: Fake) -> None:
    made = started(wide, endpoint(wide, fake.url))
    run = made.runs.get()
    made.cancel()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heartbeat, "__call__", lambda self: len(fake.asked) < 2)
        run_evaluation(run.pk)
    run.refresh_from_db()
    made.refresh_from_db()
    assert (run.status, made.status, len(fake.asked)) == (Status.CANCELLED, Status.CANCELLED, 2)
    assert not cancel(run=made, user=wide.engineer)


def test_document_moved_to_holdout_is_not_sent(wide: World, fake: Fake) -> None:
    made = started(wide, endpoint(wide, fake.url))
    wide.project.documents.filter(pk=made.documents[3]).update(holdout=True)
    run = made.runs.get()
    run_evaluation(run.pk)
    moved = wide.project.documents.get(pk=made.documents[3])
    assert moved.text not in [body["messages"][-1]["content"] for body in fake.asked]
    run.refresh_from_db()
    assert (run.status, run.scores["documents"], run.facts["not_asked"]) == (Status.DONE, 19, 1)
    assert not EvalOutput.objects.filter(eval_run=run, document=moved).exists()


def test_example_moved_to_holdout_is_not_sent(wide: World, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    made = started(wide, endpoint(wide, fake.url))
    add = outputs.OutputWriter.add

    def then_move(store: outputs.OutputWriter, event: dict[str, Any]) -> None:
        add(store, event)
        wide.project.documents.filter(pk=made.examples[1]).update(holdout=True)

    monkeypatch.setattr(outputs.OutputWriter, "add", then_move)
    run = made.runs.get()
    run_evaluation(run.pk)
    run.refresh_from_db()
    assert (run.status, len(fake.asked)) == (Status.FAILED, 1)
    assert run.error == "A few-shot example was moved to the hold-out during the run, so it cannot be sent."
