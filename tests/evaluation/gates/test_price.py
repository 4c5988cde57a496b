"""What a hold-out evaluation costs, stated before it."""

from functools import partial

import pytest

from evaluation.gates.holdout.price import evaluation_price, price_sentence
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.services import create_report
from evaluation.models import EvalRun
from evaluation.runs.rescoring import rescore
from evaluation.runs.services import start_evaluation
from slmstudio.errors import Refused
from tests.evaluation.factories import World, evaluated, right
from tests.evaluation.runs.test_rescoring import corrected

VALID = Gate("valid", "schema_valid_rate", ">=", 0.99)
ERRORS = Gate("errors", "document_error_rate", "<=", 0.2)
LATENCY = Gate("latency", "p95_latency_ms", "<=", 800)


def policy(*gates: Gate, single: bool = False) -> GateSet:
    return GateSet(gates, single_evaluation=single)


def test_the_price_is_the_sample_without_an_error_at_its_confidence() -> None:
    for number, figures in (
        (1, ["97.5%", "99%", "368 documents", "The hold-out has 60", "437"]),
        (2, ["98.75%", "instead of 97.5%", "437 documents", "instead of 368", "505"]),
        (5, ["99.84375%", "643 documents", "instead of 368"]),
    ):
        sentence = price_sentence(policy(ERRORS, VALID, LATENCY), number, 60)
        assert all(figure in sentence for figure in figures), sentence
        assert f"hold-out evaluation {number}" in sentence
    assert "can pass" not in price_sentence(policy(VALID, single=True), 1, 60)
    assert "no gate on outputs can pass" in price_sentence(policy(VALID, single=True), 2, 60)


def test_the_service_refuses_a_hold_out_evaluation_without_its_confirmation(world: World) -> None:
    start = partial(
        start_evaluation, project=world.project, user=world.engineer, dataset=world.dataset, model=world.training_run
    )
    with pytest.raises(Refused) as refused:
        start(split="holdout")
    assert (refused.value.code, refused.value.field) == ("holdout_not_confirmed", "confirmed")
    assert evaluation_price(world.dataset, world.training_run).sentence in refused.value.message
    assert not EvalRun.objects.exists()
    assert start(split="validation").split == "validation"
    assert start(split="holdout", confirm_holdout=True).split == "holdout"


def test_a_re_scoring_on_the_hold_out_is_confirmed_as_well(world: World) -> None:
    run, validation = evaluated(world, right), evaluated(world, right, split="validation")
    newest = corrected(world, run)
    with pytest.raises(Refused) as refused:
        rescore(run=run, dataset=newest, user=world.engineer)
    assert refused.value.code == "holdout_not_confirmed"
    assert rescore(run=validation, dataset=newest, user=world.engineer).rescored_from == validation
    assert rescore(run=run, dataset=newest, user=world.engineer, confirm_holdout=True).rescored_from == run


def test_every_evaluation_of_a_trained_model_raises_the_number(world: World) -> None:
    assert evaluation_price(world.dataset, world.training_run).number == 1
    evaluated(world, right)
    assert evaluation_price(world.dataset, world.training_run).number == 2
    base = evaluated(world, right, tuned=False)
    assert evaluation_price(world.dataset, world.training_run).number == 2
    create_report(eval_run=base, baseline=None, user=world.engineer)
    assert evaluation_price(world.dataset, world.training_run).number == 3
    assert evaluation_price(world.dataset, world.base_model).number is None
