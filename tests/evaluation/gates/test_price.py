"""What a hold-out evaluation costs, stated before it."""

import pytest

from evaluation.gates.holdout.price import evaluation_price, price_sentence, strictest_rate
from evaluation.gates.policy.definition import Gate, GatePolicy
from evaluation.gates.services import create_report
from tests.evaluation.factories import World, evaluated, right

VALID = Gate("valid", "schema_valid_rate", ">=", 0.99)
ERRORS = Gate("errors", "document_error_rate", "<=", 0.2)
LATENCY = Gate("latency", "p95_latency_ms", "<=", 800)


def policy(*gates: Gate, single: bool = False) -> GatePolicy:
    return GatePolicy(gates, single_evaluation=single)


@pytest.mark.parametrize(
    ("number", "figures"),
    [
        (1, ["97.5 %", "99 %", "368 documents", "The hold-out has 60", "437"]),
        (2, ["98.75 %", "instead of 97.5 %", "437 documents", "instead of 368", "505"]),
        (5, ["99.84375 %", "643 documents", "instead of 368"]),
    ],
)
def test_the_price_is_the_sample_without_an_error_at_its_confidence(number: int, figures: list[str]) -> None:
    sentence = price_sentence(policy(ERRORS, VALID, LATENCY), number, 60)
    assert all(figure in sentence for figure in figures), sentence
    assert f"evaluation {number} of the hold-out" in sentence


def test_the_strictest_gate_on_all_documents_sets_the_price() -> None:
    assert strictest_rate(policy(ERRORS, VALID)) == (VALID, 0.99)
    assert strictest_rate(policy(ERRORS)) == (ERRORS, 0.8)
    in_slice = Gate("scans", "schema_valid_rate", ">=", 0.999, slice="poor_scan")
    assert strictest_rate(policy(LATENCY, in_slice)) is None
    assert "documents" not in price_sentence(policy(LATENCY), 2, 60)


def test_a_policy_that_allows_one_evaluation_has_no_second() -> None:
    assert "can pass" not in price_sentence(policy(VALID, single=True), 1, 60)
    assert "no gate on answers can pass" in price_sentence(policy(VALID, single=True), 2, 60)


def test_every_evaluation_of_a_trained_model_raises_the_number(world: World) -> None:
    assert evaluation_price(world.dataset, world.training_run).number == 1
    evaluated(world, right)
    assert evaluation_price(world.dataset, world.training_run).number == 2
    base = evaluated(world, right, tuned=False)
    assert evaluation_price(world.dataset, world.training_run).number == 2
    create_report(eval_run=base, baseline=None, user=world.engineer)
    assert evaluation_price(world.dataset, world.training_run).number == 3
    assert evaluation_price(world.dataset, world.base_model).number is None
