"""A model elsewhere over a split: what may be sent there, how many at once, what it costs, and what is not lost."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from evaluation import chat, endpoint_eval
from evaluation.jobs import run_evaluation
from evaluation.models import AuditEntry, Endpoint, EvalOutput, EvalRun
from evaluation.services import benchmark_results, evals, holdout_permits, outputs
from evaluation.services.endpoints import save_endpoint
from labeling.services import datasets
from slmstudio import artifacts, supervisor
from slmstudio.contract.jsontext import dumps
from slmstudio.runs import Status
from tests.evaluation import fake_openai as fakes
from tests.evaluation.factories import World
from tests.evaluation.fake_openai import Fake, says, slowly


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    monkeypatch.setattr(chat, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def fake(world: World) -> Iterator[Fake]:
    """Knows the gold of every document."""
    gold = {row["text"]: dumps(row["gold"]) for row in datasets.rows(world.dataset)}

    def knows(handler: Any, body: dict[str, Any]) -> None:
        says(gold[body["messages"][-1]["content"]])(handler, body)

    with fakes.running() as server:
        server.replies = [knows]
        yield server


def endpoint(world: World, url: str, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "name": "today", "url": url, "model": "fake-1", "key_variable": "", "structured": "auto", "logprobs": True,
        "timeout_seconds": 60, "at_once": 4, "max_tokens": 200, "price_in": 2.5, "price_out": 10.0, **changes,
    }  # fmt: skip
    return save_endpoint(project=world.project, user=world.engineer, **values)


def start(world: World, one: Endpoint, **changes: Any) -> EvalRun:
    order: dict[str, Any] = {"dataset": world.dataset, "split": "train", "mode": "constrained", **changes}
    return evals.start_evaluation(project=world.project, user=world.engineer, endpoint=one, **order)


def ended(run: EvalRun) -> EvalRun:
    run_evaluation(run.pk)
    return EvalRun.objects.get(pk=run.pk)


# -- what may be sent ----------------------------------------------------------------------------------------------


def test_hold_out_documents_leave_only_with_the_owners_permit(world: World, fake: Fake) -> None:
    one = endpoint(world, fake.url)
    with pytest.raises(evals.Refused, match="Hold-out documents would leave the studio for today") as refusal:
        start(world, one, split="holdout")
    assert refusal.value.field == "split"
    assert holdout_permits.give(endpoint=one, user=world.owner)
    assert not holdout_permits.give(endpoint=one, user=world.owner), "it is permitted already"
    run = ended(start(world, one, split="holdout"))
    assert (run.status, run.error, run.scores["document_exact"]["k"]) == (Status.DONE, "", 12)
    sent = {body["messages"][-1]["content"] for body in fake.asked}
    assert sent == {row["text"] for row in datasets.rows(world.dataset, "holdout")}
    entry = AuditEntry.objects.get(action="allowed")
    assert (entry.user, entry.details["url"]) == (world.owner, fake.url)


def test_a_permit_is_for_the_address_and_the_model_it_was_given_for(world: World, fake: Fake) -> None:
    one = endpoint(world, fake.url)
    holdout_permits.give(endpoint=one, user=world.owner)
    assert holdout_permits.given(world.project, [one]) == {one.pk}
    Endpoint.objects.filter(pk=one.pk).update(model="another")
    one.refresh_from_db()
    assert holdout_permits.of(one) is None
    assert holdout_permits.given(world.project, [one]) == set()
    assert holdout_permits.give(endpoint=one, user=world.owner)
    assert holdout_permits.withdraw(endpoint=one, user=world.owner)
    assert not holdout_permits.withdraw(endpoint=one, user=world.owner)
    assert holdout_permits.of(one) is None


def test_a_permit_that_is_withdrawn_stops_a_run_that_is_at_work(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = endpoint(world, fake.url)
    holdout_permits.give(endpoint=one, user=world.owner)
    run, add = start(world, one, split="holdout"), outputs.Store.add

    def then_withdraw(store: outputs.Store, event: dict[str, Any]) -> None:
        add(store, event)
        holdout_permits.withdraw(endpoint=one, user=world.owner)

    monkeypatch.setattr(outputs.Store, "add", then_withdraw)
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.FAILED, 1)
    assert run.error == "Hold-out documents may not be sent to today any more: the permit was withdrawn."


def test_a_training_document_held_out_meanwhile_stays_here(world: World, fake: Fake) -> None:
    one = endpoint(world, fake.url)
    holdout_permits.give(endpoint=one, user=world.owner)  # for the hold-out as it was drawn, not for this
    run = start(world, one, split="validation")
    moved = world.dataset.items.filter(split="validation")[0].document
    world.project.documents.filter(pk=moved.pk).update(holdout=True)
    run = ended(run)
    assert EvalOutput.objects.get(eval_run=run, document=moved).error == "moved to the hold-out meanwhile"
    assert moved.text not in [body["messages"][-1]["content"] for body in fake.asked]


@pytest.mark.parametrize(
    ("changes", "order", "field", "words"),
    [
        ({}, {"mode": "grounded"}, "mode", "evidence: required"),
        ({"structured": "free"}, {}, "mode", "cannot be held to a schema"),
        ({}, {"at_once": 5}, "at_once", "works on at most 4 side by side"),
        ({}, {"at_once": 0}, "at_once", "Between 1 and 32"),
        ({"retired": True}, {}, "model", "was removed"),
    ],
)
def test_what_an_endpoint_cannot_do_is_refused(
    world: World, changes: dict[str, Any], order: dict[str, Any], field: str, words: str
) -> None:
    one = endpoint(world, "http://127.0.0.1:9/v1", **{k: v for k, v in changes.items() if k != "retired"})
    if changes.get("retired"):
        Endpoint.objects.filter(pk=one.pk).update(retired_at=one.created_at)
        one.refresh_from_db()
    with pytest.raises(evals.Refused, match=words) as refusal:
        start(world, one, **order)
    assert refusal.value.field == field
    assert not EvalRun.objects.exists()


# -- how it is asked, and what that takes --------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 3])
def test_as_many_are_under_way_as_were_asked_for(world: World, fake: Fake, at_once: int) -> None:
    fake.replies = [slowly(0.1, fake.replies[0])]
    run = ended(start(world, endpoint(world, fake.url), at_once=at_once))
    assert (run.status, run.at_once, fake.most_at_work) == (Status.DONE, at_once, at_once)
    assert run.latency["p50"] >= 100
    assert run.facts["docs_per_second"] < 10 * at_once
    assert outputs.rows_match_file(run)


def test_what_a_document_cost_is_kept_with_the_run(world: World, fake: Fake) -> None:
    one = endpoint(world, fake.url)
    run = ended(start(world, one))
    assert run.facts["cost_per_document"] == pytest.approx((100 * 2.5 + 20 * 10.0) / 1e6)
    assert run.facts["cost_why"] == "tokens at the endpoint's price"
    Endpoint.objects.update(price_in=99)
    assert benchmark_results.cost_of(run, {}).request == pytest.approx(run.facts["cost_per_document"])
    free = ended(start(world, endpoint(world, fake.url, name="free", price_in=None, price_out=None)))
    assert "cost_per_document" not in free.facts
    assert free.facts["cost_why"] == "the endpoint has no price per token"


# -- what is not lost ----------------------------------------------------------------------------------------------


def test_a_run_whose_worker_was_lost_pays_for_no_answer_twice(world: World, fake: Fake) -> None:
    run = start(world, endpoint(world, fake.url))
    total, cut = run.progress_total, 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endpoint_eval.Heart, "__call__", lambda self: len(fake.asked) < cut)
        run_evaluation(run.pk)
    assert len(fake.asked) == cut
    path = artifacts.local_path(run.outputs_key)
    path.write_text(path.read_text() + '{"id": "x", "ra')  # the last line was cut off
    EvalRun.objects.filter(pk=run.pk).update(status=Status.QUEUED)
    EvalOutput.objects.filter(eval_run=run)[0].delete()  # was told, and not stored yet
    run = ended(run)
    assert (run.status, run.error, len(fake.asked)) == (Status.DONE, "", total)
    assert EvalOutput.objects.filter(eval_run=run).count() == run.scores["documents"] == total
    assert outputs.rows_match_file(run)
    assert run.facts["attempts"] == 2


def test_another_model_behind_the_name_is_asked_about_everything(world: World, fake: Fake) -> None:
    one = endpoint(world, fake.url)
    run = start(world, one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endpoint_eval.Heart, "__call__", lambda self: len(fake.asked) < 4)
        run_evaluation(run.pk)
    EvalRun.objects.filter(pk=run.pk).update(status=Status.QUEUED)
    Endpoint.objects.update(model="fake-2")
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, 4 + run.progress_total)


def test_a_worker_that_is_told_to_stop_puts_the_run_back(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch, queues: None
) -> None:
    run = start(world, endpoint(world, fake.url))
    asked = threading.Event()
    monkeypatch.setattr(supervisor, "_stop_asked", asked)
    with monkeypatch.context() as patch:
        patch.setattr(endpoint_eval.Trouble, "note", lambda self, said: asked.set())
        run = ended(run)
    assert (run.status, run.error, len(fake.asked)) == (Status.QUEUED, "", 1)
    assert (run.facts["attempts"], run.tries) == (1, 0), "no attempt has failed"
    asked.clear()
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.DONE, run.progress_total)
