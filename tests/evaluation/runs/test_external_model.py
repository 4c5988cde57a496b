"""A model elsewhere over a split: what may be sent there, how many at once, what it costs, and what is not lost."""

from typing import Any

import pytest

from evaluation.benchmarks import results
from evaluation.endpoints import permits
from evaluation.endpoints.services import retire
from evaluation.inference.endpoint_keys import endpoint_config
from evaluation.models import AuditEntry, Endpoint, EvalOutput, EvalRun
from evaluation.runs import outputs, summary
from evaluation.runs import services as run_services
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.views import by_decoding_mode
from labeling.datasets import queries as dataset_queries
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation import fake_openai as fakes
from tests.evaluation.factories import World, copied, endpoint
from tests.evaluation.fake_openai import Fake, error, says, slowly


def start(world: World, model: Endpoint, **changes: Any) -> EvalRun:
    order: dict[str, Any] = {
        "dataset": world.dataset,
        "split": "train",
        "mode": "constrained",
        "confirm_holdout": True,
        **changes,
    }
    return run_services.start_evaluation(project=world.project, user=world.engineer, model=model, **order)


def ended(run: EvalRun) -> EvalRun:
    run_evaluation(run.pk)
    return EvalRun.objects.get(pk=run.pk)


# -- what may be sent ----------------------------------------------------------------------------------------------


def test_hold_out_documents_leave_only_with_the_owners_permit(world: World, fake: Fake) -> None:
    external = endpoint(world, fake.url)
    with pytest.raises(Refused, match="Hold-out documents would be sent to today") as refusal:
        start(world, external, split="holdout")
    assert refusal.value.field == "split"
    assert permits.grant(endpoint=external, user=world.owner)
    assert not permits.grant(endpoint=external, user=world.owner), "it is permitted already"
    run = ended(start(world, external, split="holdout"))
    assert (run.status, run.error, run.scores["document_exact"]["k"]) == (Status.DONE, "", 12)
    sent = {body["messages"][-1]["content"] for body in fake.asked}
    assert sent == {row["text"] for row in dataset_queries.rows(world.dataset, "holdout")}
    entry = AuditEntry.objects.get(action="allowed")
    assert (entry.user, entry.details["url"]) == (world.owner, fake.url)


def test_a_permit_is_for_the_address_and_the_model_it_was_given_for(world: World, fake: Fake) -> None:
    external = endpoint(world, fake.url)
    permits.grant(endpoint=external, user=world.owner)
    assert permits.permitted_endpoints(world.project, [external]) == {external.pk}
    Endpoint.objects.filter(pk=external.pk).update(model="another")
    external.refresh_from_db()
    assert permits.permit_for(external) is None
    assert permits.permitted_endpoints(world.project, [external]) == set()
    assert permits.grant(endpoint=external, user=world.owner)
    assert permits.withdraw(endpoint=external, user=world.owner)
    assert not permits.withdraw(endpoint=external, user=world.owner)
    assert permits.permit_for(external) is None


def test_a_permit_that_is_withdrawn_stops_a_run_that_is_at_work(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    external = endpoint(world, fake.url)
    permits.grant(endpoint=external, user=world.owner)
    run, add = start(world, external, split="holdout"), outputs.OutputWriter.add

    def then_withdraw(store: outputs.OutputWriter, event: dict[str, Any]) -> None:
        add(store, event)
        permits.withdraw(endpoint=external, user=world.owner)

    monkeypatch.setattr(outputs.OutputWriter, "add", then_withdraw)
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.FAILED, 1)
    assert "hold-out documents" in run.error


def test_training_document_moved_to_holdout_is_not_sent(world: World, fake: Fake) -> None:
    external = endpoint(world, fake.url)
    permits.grant(endpoint=external, user=world.owner)  # for the hold-out as it was drawn, not for this
    run = start(world, external)
    moved = world.dataset.items.filter(split="train")[0].document
    world.project.documents.filter(pk=moved.pk).update(holdout=True)
    total = run.progress_total
    run = ended(run)
    assert moved.text not in [body["messages"][-1]["content"] for body in fake.asked]
    assert not EvalOutput.objects.filter(eval_run=run, document=moved).exists()
    # It was not asked, so that it is no error of the model's.
    assert (run.status, run.facts["not_asked"]) == (Status.DONE, 1)
    assert (run.scores["document_exact"]["k"], run.scores["documents"]) == (total - 1, total - 1)
    assert outputs.rows_match_file(run)


def test_run_without_remaining_documents_has_no_result(world: World, fake: Fake) -> None:
    run = start(world, endpoint(world, fake.url), split="validation")
    world.project.documents.filter(dataset_items__split="validation").update(holdout=True)
    run = ended(run)
    assert (run.status, fake.asked) == (Status.FAILED, [])
    assert "moved to the hold-out" in run.error


def test_nothing_is_sent_to_an_endpoint_that_was_removed(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    external = endpoint(world, fake.url)
    permits.grant(endpoint=external, user=world.owner)
    run, add = start(world, external, split="holdout"), outputs.OutputWriter.add

    def then_remove(store: outputs.OutputWriter, event: dict[str, Any]) -> None:
        add(store, event)
        retire(endpoint=external, user=world.engineer)

    monkeypatch.setattr(outputs.OutputWriter, "add", then_remove)
    run = ended(run)
    assert (run.status, len(fake.asked)) == (Status.FAILED, 1)
    assert "was removed" in run.error
    assert permits.permit_for(external) is None
    assert AuditEntry.objects.filter(action="withdrew", details__endpoint=external.pk).count() == 1


def test_what_an_endpoint_cannot_do_is_refused(world: World, quick: None) -> None:
    copied(world)  # so that others could be held to the document
    external = endpoint(world, "http://127.0.0.1:9/v1")
    free = endpoint(world, "http://127.0.0.1:9/v1", name="free", structured="free")
    removed = endpoint(world, "http://127.0.0.1:9/v1", name="removed")
    retire(endpoint=removed, user=world.engineer)
    removed.refresh_from_db()
    orders: list[tuple[Endpoint, dict[str, Any], str, str]] = [
        (external, {"mode": "grounded"}, "mode", "does not support grounded decoding"),
        (free, {}, "mode", "does not support structured output"),
        (external, {"concurrency": 5}, "concurrency", "at most 4 concurrent requests"),
        (external, {"concurrency": 0}, "concurrency", "between 1 and"),
        (removed, {}, "model", "was removed"),
    ]
    for model, order, field, words in orders:
        with pytest.raises(Refused, match=words) as refusal:
            start(world, model, **order)
        assert refusal.value.field == field
    assert not EvalRun.objects.exists()


# -- how it is asked, and what that takes --------------------------------------------------------------------------


def test_as_many_are_under_way_as_were_asked_for_and_a_failure_is_no_quicker_than_they(
    world: World, fake: Fake
) -> None:
    fake.replies = [*[error(400, "no")] * 3, slowly(0.05, fake.replies[0])]
    run = ended(start(world, endpoint(world, fake.url), concurrency=3))
    assert (run.status, run.concurrency, fake.most_at_work) == (Status.DONE, 3, 3)
    assert run.latency["p50"] >= 50
    assert run.facts["docs_per_second"] < 20 * 3
    assert outputs.rows_match_file(run)
    failed = EvalOutput.objects.filter(eval_run=run, finish_reason="error")
    assert (run.facts["failed"], run.latency["n"]) == (len(failed), run.progress_total)
    assert all(row.latency_ms < 50 for row in failed)
    assert min(summary.latencies(EvalOutput.objects.filter(eval_run=run))) >= 50


def test_what_a_document_cost_is_kept_with_the_run(world: World, fake: Fake) -> None:
    run = ended(start(world, endpoint(world, fake.url)))
    assert run.facts["cost_per_document"] == pytest.approx((100 * 2.5 + 20 * 10.0) / 1e6)
    Endpoint.objects.update(price_in=99)
    assert results.cost_of(run, {}).per_thousand == pytest.approx(1000 * run.facts["cost_per_document"])
    free = ended(start(world, endpoint(world, fake.url, name="free", price_in=None, price_out=None)))
    assert "cost_per_document" not in free.facts


def test_long_documents_are_sent_in_windows_and_scored_as_one(world: World, fake: Fake) -> None:
    gold = {row["text"]: dumps(row["gold"]) for row in dataset_queries.rows(world.dataset)}

    def knows_parts(handler: Any, body: dict[str, Any]) -> None:
        window = body["messages"][-1]["content"]
        says(next(answer for text, answer in gold.items() if window in text))(handler, body)

    fake.replies = [knows_parts]
    external = endpoint(world, fake.url)
    Endpoint.objects.update(window_tokens=12)  # less than a user can set: these documents are short
    external.refresh_from_db()
    run = ended(start(world, external, split="validation"))
    parts = EvalOutput.objects.filter(eval_run=run).values_list("windows", flat=True)
    assert (run.status, run.scores["document_exact"]["k"]) == (Status.DONE, run.progress_total)
    assert (min(parts) > 1, sum(parts)) == (True, len(fake.asked))
    assert run.facts["cost_per_document"] > (100 * 2.5 + 20 * 10.0) / 1e6
    Endpoint.objects.update(window_tokens=20)
    assert "window size" in EvalRun.objects.get(pk=run.pk).backend.obstacle(run.facts)


def test_the_json_in_a_fence_is_scored_and_the_whole_is_kept(world: World, fake: Fake) -> None:
    gold = {row["text"]: dumps(row["gold"]) for row in dataset_queries.rows(world.dataset)}

    def fenced(handler: Any, body: dict[str, Any]) -> None:
        says(f"Here it is:\n```json\n{gold[body['messages'][-1]['content']]}\n```")(handler, body)

    fake.replies = [fenced]
    run = ended(start(world, endpoint(world, fake.url, structured="free"), mode="free"))
    assert run.scores["document_exact"]["k"] == run.progress_total
    assert all("```" in raw for raw in EvalOutput.objects.filter(eval_run=run).values_list("raw", flat=True))
    assert outputs.rows_match_file(run)
    assert summary.recompute_summary(run) == run.scores
    text = '[{"invoice_id": "A-1"}]'
    assert run.backend.scorable_text(text, benchmark=False) == text, "a list is no object"


def test_another_model_behind_the_same_name_is_another_model(world: World, fake: Fake) -> None:
    external = endpoint(world, fake.url)
    old = ended(start(world, external, mode="free"))
    assert old.model_label == "today"
    Endpoint.objects.update(model="fake-2")
    new = ended(start(world, external))
    free = ended(start(world, external, mode="free"))
    assert (EvalRun.objects.get(pk=old.pk).model_label, new.model_label) == ("today (fake-1)", "today")
    assert by_decoding_mode(new) == [new, free]


def test_how_a_reasoning_model_is_asked_is_remembered_and_its_thinking_paid_for(world: World, fake: Fake) -> None:
    fake.replies = [fakes.reasons("{}")]
    external = endpoint(world, fake.url, reasoning_effort="low", max_tokens=2000)
    run = ended(start(world, external, split="validation"))
    asked = len(fake.asked)
    external.refresh_from_db()
    assert (external.accepts["limit_name"], external.accepts["temperature"]) == ("max_completion_tokens", False)
    documents = run.progress_total
    assert (run.facts["reasoning_effort"], run.facts["reasoning_tokens"]) == ("low", 64 * documents)
    assert run.facts["cost_per_document"] == pytest.approx((100 * 2.5 + 84 * 10) / 1e6)
    again = ended(start(world, external, split="validation"))
    assert again.status == Status.DONE
    assert len(fake.asked) - asked == documents, "nothing had to be found out again"
    Endpoint.objects.filter(pk=external.pk).update(model="another")
    external.refresh_from_db()
    assert endpoint_config(external).temperature, "another model may take other parameters"
