"""Verdicts of gates: PASS, FAIL or NOT PROVEN, and the required sample."""

import json
import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import Measurement, Sample, VerdictStatus
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.verdicts import Verdict, all_passed, summary_sentence, verdict_for, verdicts_for, without_number
from evaluation.scores.score_view import ScoredField, ScoreView

SCHEMA = Gate("schema", "schema_valid_rate", ">=", 0.99)
DOCUMENTS = Gate("documents", "document_error_rate", "<=", 0.05)
FIELDS = Gate("fields", "field_error_rate", "<=", 0.10)
REGRESSION = Gate("regression", "no_regression", ">=", 0.02, compared_with="deployed")
LATENCY = Gate("latency", "p95_latency_ms", "<=", 2000)
COST = Gate("cost", "cost_per_request", "<=", 0.001)
THROUGHPUT = Gate("throughput", "requests_per_second", ">=", 2)
MEMORY = Gate("memory", "peak_memory_gb", "<=", 16)
RECALL = Gate("recall", "recall", ">=", 0.95)
HALLUCINATED = Gate("invented", "hallucination_rate", "<=", 0.05)
INVARIANTS = Gate("rules", "invariants_hold_rate", ">=", 0.95)
DECIDED = Gate("decided", "routing_decision_rate", ">=", 0.95, field="category")
PINNED = Gate("pinned", "pinned_broken", "<=", 0)
EVERY = [SCHEMA, DOCUMENTS, FIELDS, REGRESSION, RECALL, HALLUCINATED, INVARIANTS, DECIDED, PINNED]
EVERY += [LATENCY, COST, THROUGHPUT, MEMORY]
SMALL = Measurement.sample([1.0])


def latencies(scale: float = 1.0, n: int = 80) -> Measurement:
    rng = random.Random(1)
    return Measurement.sample(scale * rng.lognormvariate(6.5, 0.4) for _ in range(n))


def costs(scale: float) -> Measurement:
    return Measurement.sample(value * scale / 3_600_000 for value in latencies().values)


# -- the verdicts of each metric -------------------------------------------------------------------------------

CASES: list[tuple[Gate, Measurement, VerdictStatus]] = [
    (SCHEMA, Measurement.rate(299, 299), VerdictStatus.PASS),
    (SCHEMA, Measurement.rate(298, 298), VerdictStatus.NOT_PROVEN),
    (SCHEMA, Measurement.rate(20, 40), VerdictStatus.FAIL),
    (DOCUMENTS, Measurement.rate(0, 59), VerdictStatus.PASS),
    (DOCUMENTS, Measurement.rate(0, 58), VerdictStatus.NOT_PROVEN),
    (DOCUMENTS, Measurement.rate(20, 40), VerdictStatus.FAIL),
    (FIELDS, Measurement.fields([(0, 5)] * 40), VerdictStatus.PASS),
    (FIELDS, Measurement.fields([(0, 5)] * 20), VerdictStatus.NOT_PROVEN),
    (FIELDS, Measurement.fields([(2, 5)] * 20 + [(1, 5)] * 20), VerdictStatus.FAIL),
    (REGRESSION, Measurement.paired([0.5] * 60, [1.0] * 50 + [0.5] * 10, "base"), VerdictStatus.PASS),
    (REGRESSION, Measurement.paired([0.5] * 60, [0.5] * 60, "base"), VerdictStatus.NOT_PROVEN),
    (REGRESSION, Measurement.paired([1.0] * 60, [0.0] * 30 + [1.0] * 30, "base"), VerdictStatus.FAIL),
    (FIELDS, Measurement.fields([(0, 1)] * 29), VerdictStatus.PASS),  # once a document: as exact as a rate of documents
    (RECALL, Measurement.fields([(0, 3)] * 80), VerdictStatus.PASS),
    (RECALL, Measurement.fields([(0, 1)] * 58), VerdictStatus.NOT_PROVEN),
    (RECALL, Measurement.fields([(0, 1)] * 59), VerdictStatus.PASS),
    (RECALL, Measurement.fields([(1, 3)] * 20 + [(0, 3)] * 20), VerdictStatus.FAIL),
    (HALLUCINATED, Measurement.rate(0, 59), VerdictStatus.PASS),
    (HALLUCINATED, Measurement.rate(3, 59), VerdictStatus.NOT_PROVEN),
    (HALLUCINATED, Measurement.rate(20, 59), VerdictStatus.FAIL),
    (INVARIANTS, Measurement.rate(59, 59), VerdictStatus.PASS),
    (DECIDED, Measurement.rate(50, 59), VerdictStatus.FAIL),
    (PINNED, Measurement.rate(0, 7), VerdictStatus.PASS),
    (PINNED, Measurement.rate(1, 7), VerdictStatus.FAIL),
    (PINNED, Measurement(n=7, k=0, reason="2 more not evaluated"), VerdictStatus.NOT_PROVEN),
    (PINNED, Measurement(n=7, k=1, reason="2 more not evaluated"), VerdictStatus.FAIL),
    (LATENCY, latencies(), VerdictStatus.PASS),
    (LATENCY, latencies(1.6), VerdictStatus.NOT_PROVEN),
    (LATENCY, latencies(5), VerdictStatus.FAIL),
    (COST, costs(0.1), VerdictStatus.PASS),
    (COST, costs(5), VerdictStatus.NOT_PROVEN),
    (COST, costs(9), VerdictStatus.FAIL),
    (THROUGHPUT, latencies(0.5), VerdictStatus.PASS),
    (THROUGHPUT, latencies(0.7), VerdictStatus.NOT_PROVEN),
    (THROUGHPUT, latencies(2), VerdictStatus.FAIL),
    (MEMORY, Measurement.sample([1.2]), VerdictStatus.PASS),
    (MEMORY, Measurement.sample([17.0]), VerdictStatus.FAIL),
]


@pytest.mark.parametrize(("gate", "measurement", "status"), CASES, ids=lambda case: str(getattr(case, "key", "")))
def test_verdict(gate: Gate, measurement: Measurement, status: VerdictStatus) -> None:
    verdict = verdict_for(gate, measurement)
    assert verdict.status is status
    assert verdict.sentence.startswith(f"{status}: ")
    assert verdict.sentence.endswith(".")
    later = verdict_for(gate, measurement, 2)
    assert Verdict.from_dict(json.loads(json.dumps(later.as_dict(), allow_nan=False))) == later


def test_no_measurement_is_not_proven() -> None:
    reasons = (Measurement.nothing(), Measurement.nothing("no document has this tag"))
    for gate, nothing in [(gate, nothing) for gate in EVERY for nothing in reasons]:
        verdict = verdict_for(gate, nothing)
        assert verdict.status is VerdictStatus.NOT_PROVEN, gate.key
        assert nothing.reason in verdict.sentence
    for gate, empty in (
        (SCHEMA, Measurement.rate(0, 0)),
        (FIELDS, Measurement.fields([(0, 0)])),
        (REGRESSION, Measurement.paired([], [], "base")),
        (LATENCY, Measurement.sample([])),
    ):
        assert verdict_for(gate, empty).status is VerdictStatus.NOT_PROVEN, gate.key
    statuses = [verdict.status for verdict in verdicts_for(GateSet((SCHEMA, MEMORY)), {"memory": SMALL}, 1)]
    assert statuses == [VerdictStatus.NOT_PROVEN, VerdictStatus.PASS]


def test_resources_that_are_not_fresh_or_too_few_are_not_proven() -> None:
    for gate in (LATENCY, COST, THROUGHPUT, MEMORY):
        stale = verdict_for(gate, Measurement.sample([0.0001] * 100, is_fresh=False))
        assert stale.status is VerdictStatus.NOT_PROVEN, gate.key
    few = verdict_for(COST, Measurement.sample([0.0001] * 12))
    assert (few.status, few.needed) == (VerdictStatus.NOT_PROVEN, 8), "no bound of the mean"


# -- required samples -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "measurement", "needed", "allowed"),
    [
        (SCHEMA, Measurement.rate(40, 40), 259, 0),
        (Gate("schema", "schema_valid_rate", ">=", 0.98), Measurement.rate(198, 200), 186, 1),
        (SCHEMA, Measurement.rate(299, 299), None, None),  # passed
        (SCHEMA, Measurement.rate(20, 40), None, None),  # failed
        (SCHEMA, Measurement.rate(39, 40), None, None),  # the current rate misses the threshold
        (DOCUMENTS, Measurement.rate(1, 40), 113, 2),
        (FIELDS, Measurement.fields([(0, 5)] * 20), 9, 0),
        (REGRESSION, Measurement.paired([1.0] * 40, [1.0] * 40, "the base model"), 109, 0),
        (LATENCY, Measurement.sample([812.0] * 40), 19, 0),
        (RECALL, Measurement.fields([(0, 1)] * 40), 19, 0),
        (HALLUCINATED, Measurement.rate(20, 59), None, None),
        (PINNED, Measurement.rate(1, 7), None, None),
    ],
    ids=lambda case: str(getattr(case, "key", "")),
)
def test_required_sample(gate: Gate, measurement: Measurement, needed: int | None, allowed: int | None) -> None:
    verdict = verdict_for(gate, measurement)
    assert (verdict.needed, verdict.allowed_failures) == (needed, allowed)
    assert needed is None or f"{needed} more" in verdict.sentence


def test_a_bound_is_distinguishable_from_the_threshold_it_misses() -> None:
    assert "98.9998%" in verdict_for(SCHEMA, Measurement.rate(298, 298)).sentence


def test_sentences_of_earlier_reports_are_read_too() -> None:
    """Stored sentences keep their wording, because approvals rest on their hash."""
    for before, after in (
        ("NOT PROVEN: ", " Look 1 at this hold-out: judged at 97.5%."),
        ("NOT PROVEN: ", " Hold-out evaluation 1: tested at 97.5%."),
        ("PASS: ", ""),
    ):
        sentence = f"{before}40 of 40 shows only 92.8%; label 259 more.{after}"
        assert without_number(sentence) == "40 of 40 shows only 92.8%; label 259 more"


def test_the_required_sample_passes_the_gate() -> None:
    for gate, k, n in ((SCHEMA, 40, 40), (Gate("s", "schema_valid_rate", ">=", 0.9), 48, 50)):
        verdict = verdict_for(gate, Measurement.rate(k, n))
        assert verdict.needed is not None
        assert verdict.allowed_failures is not None
        good = k + verdict.needed - verdict.allowed_failures
        assert verdict_for(gate, Measurement.rate(good, n + verdict.needed)).status is VerdictStatus.PASS
        assert verdict_for(gate, Measurement.rate(good - 1, n + verdict.needed)).status is VerdictStatus.NOT_PROVEN


# -- hold-out evaluations ------------------------------------------------------------------------------------------


def test_a_hold_out_evaluation_has_its_confidence_and_requires_a_sample_at_the_next() -> None:
    verdict = verdict_for(SCHEMA, Measurement.rate(40, 40), 1)

    assert verdict.confidence == 0.975
    assert verdict.low == pytest.approx(0.025 ** (1 / 40))
    assert verdict.needed == 397  # 437 documents at 98.75%
    assert verdict_for(SCHEMA, Measurement.rate(437, 437), 2).status is VerdictStatus.PASS
    assert verdict_for(SCHEMA, Measurement.rate(437, 437), 3).status is VerdictStatus.NOT_PROVEN


def test_resources_are_tested_at_the_confidence_of_the_policy() -> None:
    for gate, values in (
        (LATENCY, [500.0] * 60), (COST, [1e-4, 2e-4] * 30), (THROUGHPUT, [10.0, 20.0] * 30), (MEMORY, [2.0])
    ):  # fmt: skip
        measured = {gate.key: Measurement.sample(values)}
        for number in (1, 7):
            verdict = verdicts_for(GateSet((gate,)), measured, number)[0]
            assert (verdict.status, verdict.confidence) == (VerdictStatus.PASS, gate.confidence)
            assert verdict == verdict_for(gate, measured[gate.key])
        exhausted = verdicts_for(GateSet((gate,), single_evaluation=True), measured, 2, exhausted="no alpha is left")
        assert exhausted[0].status == VerdictStatus.PASS


def test_a_second_evaluation_under_a_single_evaluation_policy_is_not_proven() -> None:
    policy = GateSet((SCHEMA,), single_evaluation=True)
    measured = {"schema": Measurement.rate(400, 400)}

    assert verdicts_for(policy, measured, 1)[0].confidence == 0.95
    assert verdicts_for(policy, measured, 1)[0].status is VerdictStatus.PASS
    second = verdicts_for(policy, measured, 2)[0]
    assert second.status is VerdictStatus.NOT_PROVEN


def test_without_alpha_nothing_is_proven() -> None:
    measured = {"schema": Measurement.rate(1000, 1000)}

    assert verdicts_for(GateSet((SCHEMA,)), measured, 3)[0].status is VerdictStatus.PASS
    exhausted = verdicts_for(GateSet((SCHEMA,)), measured, 3, exhausted="no alpha is left")[0]
    assert (exhausted.status, exhausted.n) == (VerdictStatus.NOT_PROVEN, 0)


@pytest.mark.slow
def test_ten_candidates_have_at_most_five_percent_false_passes() -> None:
    """Models exactly at the threshold, tried one after another until one passes."""
    gate = Gate("schema", "schema_valid_rate", ">=", 0.9)

    @cache
    def passes(good: int, number: int) -> bool:
        return verdict_for(gate, Measurement.rate(good, 150), number).status is VerdictStatus.PASS

    rng = random.Random(7)
    rounds = [[sum(rng.random() < 0.9 for _ in range(150)) for _ in range(10)] for _ in range(300)]
    passed = sum(any(passes(good, number) for number, good in enumerate(goods, 1)) for goods in rounds)

    assert passed / 300 <= 0.05


# -- the summary of all gates ------------------------------------------------------------------------------------


def verdicts(passed: int, failed: int, unproven: int) -> list[Verdict]:
    return (
        [verdict_for(MEMORY, SMALL)] * passed
        + [verdict_for(MEMORY, Measurement.sample([20.0]))] * failed
        + [verdict_for(MEMORY, Measurement.nothing())] * unproven
    )


def test_summary() -> None:
    for counts, numbers, passed in (
        ((5, 1, 1), ["5", "7", "1", "1"], False),
        ((3, 0, 1), ["3", "4", "1"], False),
        ((0, 1, 0), ["0", "1", "1"], False),
        ((7, 0, 0), ["7"], True),
        ((1, 0, 0), [], True),
        ((0, 0, 0), [], False),
    ):
        sentence = summary_sentence(verdicts(*counts))
        assert re.findall(r"\d+", sentence) == numbers
        assert sentence.startswith("Ready to deploy.") is all_passed(verdicts(*counts)) is passed


# -- measurements from scores ---------------------------------------------------------------------------------------


def score(*outcomes: str, exact: bool = False, valid: bool = True) -> ScoreView:
    fields = tuple(ScoredField(f"field_{index}", outcome) for index, outcome in enumerate(outcomes))
    return ScoreView(exact, valid, fields)


def count(metric: str, scores: dict[str, Any], **options: Any) -> Measurement:
    return METRICS[metric].count(Sample(scores=scores, **options))


SCORES = {
    "a": score("correct", "correct", exact=True),
    "b": score("correct", "wrong", "both_absent"),
    "c": score("unscorable", "unscorable", valid=False),
}


def test_scores_are_counted() -> None:
    assert count("schema_valid_rate", SCORES) == Measurement.rate(2, 3)
    assert count("document_error_rate", SCORES) == Measurement.rate(2, 3)
    assert count("field_error_rate", SCORES) == Measurement.fields([(0, 2), (1, 2), (2, 2)])


def test_scores_are_paired_on_common_documents() -> None:
    baseline = {"b": score("correct", "correct"), "z": score("wrong")}
    measured = count("no_regression", SCORES, baseline=baseline, baseline_name="the deployed model")
    assert measured == Measurement.paired([1.0], [0.5], "the deployed model")
    for other in (None, {}, {"z": score("wrong")}):
        verdict = verdict_for(REGRESSION, count("no_regression", SCORES, baseline=other))
        assert verdict.status is VerdictStatus.NOT_PROVEN


def stored(*fields: tuple[str, str, Any, Any], valid: bool = True, rules: bool | None = None) -> dict[str, Any]:
    """A score as it is stored: (field, outcome, gold, output) of each."""
    names = ("field", "outcome", "gold", "output")
    rows = [dict(zip(names, row, strict=True)) for row in fields]
    return {"exact": False, "schema_valid": valid, "invariants_hold": rules, "fields": rows}


STORED = {
    "a": stored(("category", "correct", "bill", "bill"), ("name", "hallucinated", "Ann", "Eve"), rules=True),
    "b": stored(("category", "wrong", "bill", "spam"), ("name", "correct", "Bob", "Bob"), rules=False),
    "c": stored(("category", "missing", "spam", None), ("name", "both_absent", None, None), rules=True),
    "d": stored(("category", "unscorable", "spam", None), ("name", "unscorable", "Cy", None), valid=False),
}


def test_stored_scores_are_counted() -> None:
    assert count("recall", STORED) == Measurement.fields([(1, 2), (1, 2), (1, 1), (2, 2)])
    of_name = Measurement.fields([(1, 1), (0, 1), (1, 1)])
    assert count("recall", STORED, field="name") == count("field_error_rate", STORED, field="name") == of_name
    assert count("recall", STORED, field="category", value="bill") == Measurement.fields([(0, 1), (1, 1)])
    assert count("hallucination_rate", STORED) == Measurement.rate(2, 4)
    assert count("hallucination_rate", STORED, field="category") == Measurement.rate(1, 4)
    assert count("routing_decision_rate", STORED, field="category") == Measurement.rate(2, 4)
    assert count("invariants_hold_rate", STORED) == Measurement.rate(2, 4)


def test_one_field_is_compared_with_the_same_field() -> None:
    before = {"a": stored(("name", "correct", "Ann", "Ann")), "c": stored(("name", "hallucinated", None, "x"))}
    measured = count("no_regression", STORED, baseline=before, baseline_name="v1", field="name")

    assert measured == Measurement.paired([1.0, 0.0], [0.0, 1.0], "v1")


def test_what_cannot_be_counted_has_a_reason() -> None:
    for metric, field in (("recall", "nmae"), ("routing_decision_rate", "x"), ("invariants_hold_rate", "")):
        measurement = count(metric, {"d": STORED["d"]}, field=field)
        assert measurement.reason
        assert measurement == Measurement.nothing(measurement.reason)


def test_impossible_measurements_are_refused() -> None:
    makes: list[Callable[[], Measurement]] = [
        lambda: Measurement.rate(3, 2),
        lambda: Measurement.sample([-1.0]),
        lambda: Measurement.sample([float("nan")]),
        lambda: Measurement.paired([1.0], [1.0, 0.0], "base"),
    ]
    for make in makes:
        with pytest.raises(ValueError):
            make()
