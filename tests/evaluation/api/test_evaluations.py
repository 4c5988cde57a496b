"""Evaluations over REST: what starts one, what it costs, and who may."""

from typing import Any

from evaluation.models import EvalRun
from tests.evaluation.factories import World, complete, evaluated, right
from tests.labeling.api_client import Api, api_of
from tests.shared_rows import shared_fixture


@shared_fixture
def api(world: World) -> Api:
    return api_of(world.project, world.engineer)


def start(api: Api, key: str = "", **body: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return api.post("evaluations", {"model": "run-1", **body}, headers=headers)


def test_an_evaluation_on_validation_is_started_read_and_cancelled(world: World, api: Api) -> None:
    [tuned, base] = api.get("evaluations/models").json["items"]
    assert (tuned["key"], base["key"]) == ("run-1", "base-small-base")
    answer = start(api)
    assert (answer.status, answer.json["status"], answer.json["split"]) == (202, "queued", "validation")
    assert answer.json["figures"] is None
    run = EvalRun.objects.get()
    assert (run.training_run, run.dataset, run.created_by) == (world.training_run, world.dataset, world.engineer)
    complete(run, right, version=world.version)
    done = api.get(f"evaluations/{run.number}").json
    assert (done["status"], done["key"], done["figures"]["document_exact"]) == ("done", "run-1", 1)
    assert [row["number"] for row in api.get("evaluations?split=validation").json["items"]] == [run.number]
    assert api.get("evaluations?split=holdout").json["items"] == []
    number = start(api).json["number"]
    for _ in range(2):
        assert api.post(f"evaluations/{number}/cancel").json["status"] == "cancelled"


def test_the_holdout_takes_a_confirmation_of_its_price(world: World, api: Api) -> None:
    evaluated(world, right)
    answer = start(api, split="holdout")
    assert (answer.status, answer.json["code"], answer.json["price"]["number"]) == (409, "holdout_not_confirmed", 2)
    assert answer.json["price"]["sentence"] in answer.json["detail"]
    assert EvalRun.objects.count() == 1
    confirmed = start(api, split="holdout", confirm_holdout=True)
    assert (confirmed.status, confirmed.json["split"]) == (202, "holdout")
    assert start(api, split="holdout", confirm_holdout="yes").status == 422


def test_a_wrong_field_is_named(api: Api) -> None:
    wrong: list[tuple[str, Any]] = [("model", "run-9"), ("dataset", 7), ("mode", "fast"), ("modell", "run-1")]
    for field, value in wrong:
        answer = start(api, **{field: value})
        assert (answer.status, [error["field"] for error in answer.json["errors"]]) == (422, [field])
    assert not EvalRun.objects.exists()


def test_a_repeated_request_gets_the_first_evaluation(world: World, api: Api) -> None:
    first = start(api, "build 12")
    again = start(api, "build 12")
    assert (first.status, again.status) == (202, 200)
    assert first.json["number"] == again.json["number"]
    other = start(api, "build 12", mode="free")
    assert (other.status, other.json["code"]) == (409, "idempotency_key")
    assert start(api, "x" * 201).status == 422
    assert start(api).json["number"] == 2
    assert EvalRun.objects.count() == 2
