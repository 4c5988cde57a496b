"""Gates: three answers, the words they come in, and what a proof would cost."""

import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from evaluation.gates.verdicts import (
    Gate,
    GatePolicy,
    Measurement,
    Status,
    Verdict,
    judge,
    judge_all,
    may_ship,
    overall,
)
from evaluation.scores.counts import from_scores
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
INVENTED = Gate("invented", "hallucination_rate", "<=", 0.05)
RULES = Gate("rules", "invariants_hold_rate", ">=", 0.95)
DECIDED = Gate("decided", "routing_decision_rate", ">=", 0.95, field="category")
PINNED = Gate("pinned", "pinned_broken", "<=", 0)
EVERY = [SCHEMA, DOCUMENTS, FIELDS, REGRESSION, RECALL, INVENTED, RULES, DECIDED, PINNED]
EVERY += [LATENCY, COST, THROUGHPUT, MEMORY]


def latencies(scale: float = 1.0, n: int = 80) -> Measurement:
    rng = random.Random(1)
    return Measurement.sample(scale * rng.lognormvariate(6.5, 0.4) for _ in range(n))


def costs(scale: float) -> Measurement:
    return Measurement.sample(value * scale / 3_600_000 for value in latencies().values)


# -- the three answers of each metric -------------------------------------------------------------------------------

CASES: list[tuple[Gate, Measurement, Status]] = [
    (SCHEMA, Measurement.rate(299, 299), Status.PASS),
    (SCHEMA, Measurement.rate(298, 298), Status.NOT_PROVEN),
    (SCHEMA, Measurement.rate(20, 40), Status.FAIL),
    (DOCUMENTS, Measurement.rate(0, 59), Status.PASS),
    (DOCUMENTS, Measurement.rate(0, 58), Status.NOT_PROVEN),
    (DOCUMENTS, Measurement.rate(20, 40), Status.FAIL),
    (FIELDS, Measurement.fields([(0, 5)] * 40), Status.PASS),
    (FIELDS, Measurement.fields([(0, 5)] * 20), Status.NOT_PROVEN),
    (FIELDS, Measurement.fields([(2, 5)] * 20 + [(1, 5)] * 20), Status.FAIL),
    (REGRESSION, Measurement.paired([0.5] * 60, [1.0] * 50 + [0.5] * 10, "base"), Status.PASS),
    (REGRESSION, Measurement.paired([0.5] * 60, [0.5] * 60, "base"), Status.NOT_PROVEN),
    (REGRESSION, Measurement.paired([1.0] * 60, [0.0] * 30 + [1.0] * 30, "base"), Status.FAIL),
    (FIELDS, Measurement.fields([(0, 1)] * 29), Status.PASS),  # once a document: as exact as a rate of documents
    (RECALL, Measurement.fields([(0, 3)] * 80), Status.PASS),
    (RECALL, Measurement.fields([(0, 1)] * 58), Status.NOT_PROVEN),
    (RECALL, Measurement.fields([(0, 1)] * 59), Status.PASS),
    (RECALL, Measurement.fields([(1, 3)] * 20 + [(0, 3)] * 20), Status.FAIL),
    (INVENTED, Measurement.rate(0, 59), Status.PASS),
    (INVENTED, Measurement.rate(3, 59), Status.NOT_PROVEN),
    (INVENTED, Measurement.rate(20, 59), Status.FAIL),
    (RULES, Measurement.rate(59, 59), Status.PASS),
    (DECIDED, Measurement.rate(50, 59), Status.FAIL),
    (PINNED, Measurement.rate(0, 7), Status.PASS),
    (PINNED, Measurement.rate(1, 7), Status.FAIL),
    (PINNED, Measurement(n=7, k=0, reason="2 more were not asked about"), Status.NOT_PROVEN),
    (PINNED, Measurement(n=7, k=1, reason="2 more were not asked about"), Status.FAIL),
    (LATENCY, latencies(), Status.PASS),
    (LATENCY, latencies(1.6), Status.NOT_PROVEN),
    (LATENCY, latencies(5), Status.FAIL),
    (COST, costs(0.1), Status.PASS),
    (COST, costs(5), Status.NOT_PROVEN),
    (COST, costs(9), Status.FAIL),
    (THROUGHPUT, latencies(0.5), Status.PASS),
    (THROUGHPUT, latencies(0.7), Status.NOT_PROVEN),
    (THROUGHPUT, latencies(2), Status.FAIL),
    (MEMORY, Measurement.sample([1.2]), Status.PASS),
    (MEMORY, Measurement.sample([17.0]), Status.FAIL),
]


@pytest.mark.parametrize(("gate", "measurement", "status"), CASES, ids=lambda case: str(getattr(case, "key", "")))
def test_the_answer(gate: Gate, measurement: Measurement, status: Status) -> None:
    verdict = judge(gate, measurement)

    assert verdict.status is status
    assert verdict.sentence.startswith(f"{status}: ")
    assert verdict.sentence.endswith(".")


@pytest.mark.parametrize("gate", EVERY, ids=lambda gate: gate.key)
def test_nothing_to_measure_is_not_proven(gate: Gate) -> None:
    for nothing in (Measurement.nothing(), Measurement.nothing("no document has this tag")):
        verdict = judge(gate, nothing)
        assert verdict.status is Status.NOT_PROVEN
        assert (nothing.reason or "nothing was measured") in verdict.sentence


def test_empty_measurements_are_nothing_too() -> None:
    for gate, empty in (
        (SCHEMA, Measurement.rate(0, 0)),
        (DOCUMENTS, Measurement.rate(0, 0)),
        (FIELDS, Measurement.fields([(0, 0)])),
        (REGRESSION, Measurement.paired([], [], "base")),
        (LATENCY, Measurement.sample([])),
        (MEMORY, Measurement.sample([])),
    ):
        assert judge(gate, empty).status is Status.NOT_PROVEN


@pytest.mark.parametrize("gate", [LATENCY, COST, THROUGHPUT, MEMORY], ids=lambda gate: gate.key)
def test_stale_latency_and_cost_prove_nothing(gate: Gate) -> None:
    verdict = judge(gate, Measurement.sample([0.0001] * 100, fresh=False))

    assert verdict.status is Status.NOT_PROVEN
    assert "measure it afresh" in verdict.sentence


def test_a_few_requests_bound_no_mean() -> None:
    verdict = judge(COST, Measurement.sample([0.0001] * 12))

    assert (verdict.status, verdict.needed) == (Status.NOT_PROVEN, 8)


# -- words and prices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "measurement", "sentence"),
    [
        (
            SCHEMA,
            Measurement.rate(40, 40),
            "NOT PROVEN: 40 of 40 shows only 92.8 %, 99 % is asked; label 259 more, none of them wrong.",
        ),
        (
            Gate("schema", "schema_valid_rate", ">=", 0.98),
            Measurement.rate(198, 200),
            "NOT PROVEN: 198 of 200 shows only 96.9 %, 98 % is asked; label 186 more, at most one of them wrong.",
        ),
        (SCHEMA, Measurement.rate(299, 299), "PASS: 299 of 299 shows at least 99.0 %, 99 % is asked."),
        (SCHEMA, Measurement.rate(20, 40), "FAIL: 20 of 40 shows at most 63.9 %, 99 % is asked."),
        (
            SCHEMA,
            Measurement.rate(39, 40),
            (
                "NOT PROVEN: 39 of 40 shows only 88.7 %, 99 % is asked; at the rate seen so far more labels will not "
                "prove it (only 433 more without another failure would)."
            ),
        ),
        (
            DOCUMENTS,
            Measurement.rate(1, 40),
            (
                "NOT PROVEN: 1 of 40 wrong could mean 11.3 %, at most 5 % is allowed; label 113 more, at most two of "
                "them wrong."
            ),
        ),
        (
            FIELDS,
            Measurement.fields([(0, 5)] * 20),
            (
                "NOT PROVEN: 0 of 100 fields wrong in 20 documents could mean 13.9 %, at most 10 % is allowed; label 9 "
                "more, none of them wrong."
            ),
        ),
        (
            REGRESSION,
            Measurement.paired([1.0] * 40, [1.0] * 40, "the base model"),
            (
                "NOT PROVEN: 0.0 points against the base model on the same 40 documents, which could mean -7.2 points; "
                "-2 points is allowed; label 109 more, none of them worse."
            ),
        ),
        (
            LATENCY,
            Measurement.sample([812.0] * 40),
            (
                "NOT PROVEN: the p95 of 40 requests is 812 ms, too few to bound it; at most 2,000 ms is allowed; "
                "measure 19 more, none of them slower than that."
            ),
        ),
        (
            RECALL,
            Measurement.fields([(0, 1)] * 40),
            (
                "NOT PROVEN: 40 of 40 found in 40 documents shows only 92.8 %, 95 % is asked; label 19 more, none of "
                "them with a miss."
            ),
        ),
        (
            INVENTED,
            Measurement.rate(20, 59),
            "FAIL: 20 of 59 with an invented value or unreadable shows at least 23.7 %, at most 5 % is allowed.",
        ),
        (PINNED, Measurement.rate(1, 7), "FAIL: 1 of 7 pinned documents wrong; none may be."),
        (
            Gate("pinned", "pinned_broken", "<=", 2),
            Measurement.rate(1, 7),
            "PASS: 1 of 7 pinned documents wrong; at most 2 may be.",
        ),
        (MEMORY, Measurement.sample([1.25]), "PASS: 1.25 GB at the most; at most 16 GB is allowed."),
    ],
    ids=lambda case: str(getattr(case, "key", "")),
)
def test_the_words(gate: Gate, measurement: Measurement, sentence: str) -> None:
    assert judge(gate, measurement).sentence == sentence


def test_a_bound_that_misses_never_looks_like_the_limit() -> None:
    assert "shows only 98.9998 %, 99 % is asked" in judge(SCHEMA, Measurement.rate(298, 298)).sentence


def test_the_numbers_of_a_verdict() -> None:
    verdict = judge(SCHEMA, Measurement.rate(40, 40))

    assert (verdict.k, verdict.n, verdict.measured) == (40, 40, 1.0)
    assert (verdict.needed, verdict.allowed_failures) == (259, 0)
    assert verdict.low == pytest.approx(0.05 ** (1 / 40))
    assert verdict.high == 1.0
    assert judge(SCHEMA, Measurement.rate(299, 299)).needed is None


def test_the_price_paid_turns_the_verdict() -> None:
    for gate, k, n in ((SCHEMA, 40, 40), (Gate("s", "schema_valid_rate", ">=", 0.9), 48, 50)):
        verdict = judge(gate, Measurement.rate(k, n))
        assert verdict.needed is not None
        assert verdict.allowed_failures is not None
        good = k + verdict.needed - verdict.allowed_failures
        assert judge(gate, Measurement.rate(good, n + verdict.needed)).status is Status.PASS
        assert judge(gate, Measurement.rate(good - 1, n + verdict.needed)).status is Status.NOT_PROVEN


# -- looks ----------------------------------------------------------------------------------------------------------


def test_a_counted_look_is_judged_at_its_level_and_priced_at_the_next() -> None:
    verdict = judge(SCHEMA, Measurement.rate(40, 40), 1)

    assert verdict.confidence == 0.975
    assert verdict.low == pytest.approx(0.025 ** (1 / 40))
    assert verdict.needed == 397  # 437 documents at 98.75 %
    assert verdict.sentence.endswith("Look 1 at this hold-out: judged at 97.5 %.")


@pytest.mark.parametrize("look", [1, 2, 7])
@pytest.mark.parametrize(
    ("gate", "values"),
    [(LATENCY, [500.0] * 60), (COST, [1e-4, 2e-4] * 30), (THROUGHPUT, [10.0, 20.0] * 30), (MEMORY, [2.0])],
)
def test_what_a_run_takes_is_judged_at_the_policys_confidence_at_every_look(
    gate: Gate, values: list[float], look: int
) -> None:
    measured = {gate.key: Measurement.sample(values)}
    verdict = judge_all(GatePolicy((gate,)), measured, look)[0]
    assert (verdict.status, verdict.confidence) == (Status.PASS, gate.confidence)
    assert verdict == judge(gate, measured[gate.key])
    spent = judge_all(GatePolicy((gate,), only_look=True), measured, look + 1, spent="nothing is left")[0]
    assert spent.status == Status.PASS


def test_what_passes_as_the_only_look_may_not_pass_as_the_third() -> None:
    assert judge(SCHEMA, Measurement.rate(299, 299)).status is Status.PASS
    assert judge(SCHEMA, Measurement.rate(299, 299), 3).status is Status.NOT_PROVEN


def test_a_policy_of_one_look_proves_nothing_at_the_second() -> None:
    policy = GatePolicy((SCHEMA,), only_look=True)
    measured = {"schema": Measurement.rate(400, 400)}

    assert judge_all(policy, measured, 1)[0].confidence == 0.95
    assert judge_all(policy, measured, 1)[0].status is Status.PASS
    second = judge_all(policy, measured, 2)[0]
    assert second.status is Status.NOT_PROVEN
    assert "this is look 2" in second.sentence


def test_without_an_error_level_left_nothing_is_proven() -> None:
    measured = {"schema": Measurement.rate(1000, 1000)}

    assert judge_all(GatePolicy((SCHEMA,)), measured, 3)[0].status is Status.PASS
    spent = judge_all(GatePolicy((SCHEMA,)), measured, 3, spent="nothing is left")[0]
    assert (spent.status, spent.n) == (Status.NOT_PROVEN, 0)


def test_ten_candidates_on_one_hold_out_pass_wrongly_at_most_one_time_in_twenty() -> None:
    """Models exactly at the threshold, tried one after another until one passes."""
    gate = Gate("schema", "schema_valid_rate", ">=", 0.9)

    @cache
    def passes(good: int, look: int) -> bool:
        return judge(gate, Measurement.rate(good, 150), look).status is Status.PASS

    rng = random.Random(7)
    rounds = [[sum(rng.random() < 0.9 for _ in range(150)) for _ in range(10)] for _ in range(300)]
    passed = sum(any(passes(good, look) for look, good in enumerate(goods, 1)) for goods in rounds)

    assert passed / 300 <= 0.05


# -- the sentence over all gates ------------------------------------------------------------------------------------


def verdicts(passed: int, failed: int, unproven: int) -> list[Verdict]:
    return (
        [judge(MEMORY, Measurement.sample([1.0]))] * passed
        + [judge(MEMORY, Measurement.sample([20.0]))] * failed
        + [judge(MEMORY, Measurement.nothing())] * unproven
    )


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((5, 1, 1), "May ship: no. 5 of 7 gates pass, 1 fails, 1 is not proven."),
        ((3, 2, 2), "May ship: no. 3 of 7 gates pass, 2 fail, 2 are not proven."),
        ((3, 0, 1), "May ship: no. 3 of 4 gates pass, 1 is not proven."),
        ((0, 1, 0), "May ship: no. 0 of 1 gate passes, 1 fails."),
        ((7, 0, 0), "May ship: yes. All 7 gates pass."),
        ((1, 0, 0), "May ship: yes. The gate passes."),
        ((0, 0, 0), "May ship: no. The policy has no gates."),
    ],
)
def test_the_overall_sentence(counts: tuple[int, int, int], sentence: str) -> None:
    assert overall(verdicts(*counts)) == sentence
    assert may_ship(verdicts(*counts)) is sentence.startswith("May ship: yes")


def test_a_gate_nobody_measured_is_in_the_report() -> None:
    found = judge_all(GatePolicy((SCHEMA, MEMORY)), {"memory": Measurement.sample([1.0])}, 1)

    assert [verdict.status for verdict in found] == [Status.NOT_PROVEN, Status.PASS]


@pytest.mark.parametrize(("gate", "measurement", "status"), CASES, ids=lambda case: str(getattr(case, "key", "")))
def test_a_verdict_survives_json(gate: Gate, measurement: Measurement, status: Status) -> None:
    verdict = judge(gate, measurement, 2)

    assert Verdict.from_dict(json.loads(json.dumps(verdict.as_dict(), allow_nan=False))) == verdict


# -- measurements from scores ---------------------------------------------------------------------------------------


def score(*outcomes: str, exact: bool = False, valid: bool = True) -> ScoreView:
    return ScoreView(
        exact, valid, tuple(ScoredField(f"field_{index}", outcome) for index, outcome in enumerate(outcomes))
    )


SCORES = {
    "a": score("correct", "correct", exact=True),
    "b": score("correct", "wrong", "both_absent"),
    "c": score("unscorable", "unscorable", valid=False),
}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("schema_valid_rate", Measurement.rate(2, 3)),
        ("document_error_rate", Measurement.rate(2, 3)),
        ("field_error_rate", Measurement.fields([(0, 2), (1, 2), (2, 2)])),
    ],
)
def test_scores_are_counted(metric: str, expected: Measurement) -> None:
    assert from_scores(metric, SCORES) == expected


def test_scores_are_paired_on_common_documents() -> None:
    baseline = {"b": score("correct", "correct"), "z": score("wrong")}
    measured = from_scores("no_regression", SCORES, baseline=baseline, against="the deployed model")

    assert measured == Measurement.paired([1.0], [0.5], "the deployed model")


@pytest.mark.parametrize("baseline", [None, {}, {"z": score("wrong")}])
def test_no_common_document_is_nothing_to_measure(baseline: Any) -> None:
    assert judge(REGRESSION, from_scores("no_regression", SCORES, baseline=baseline)).status is Status.NOT_PROVEN


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


@pytest.mark.parametrize(
    ("metric", "scope", "expected"),
    [
        ("recall", {}, Measurement.fields([(1, 2), (1, 2), (1, 1), (2, 2)])),
        ("recall", {"field": "name"}, Measurement.fields([(1, 1), (0, 1), (1, 1)])),
        ("recall", {"field": "category", "value": "bill"}, Measurement.fields([(0, 1), (1, 1)])),
        ("field_error_rate", {"field": "name"}, Measurement.fields([(1, 1), (0, 1), (1, 1)])),
        ("hallucination_rate", {}, Measurement.rate(2, 4)),
        ("hallucination_rate", {"field": "category"}, Measurement.rate(1, 4)),
        ("routing_decision_rate", {"field": "category"}, Measurement.rate(2, 4)),
        ("invariants_hold_rate", {}, Measurement.rate(2, 4)),
    ],
)
def test_stored_scores_are_counted(metric: str, scope: dict[str, Any], expected: Measurement) -> None:
    assert from_scores(metric, STORED, **scope) == expected


def test_one_field_is_held_against_the_same_field() -> None:
    before = {"a": stored(("name", "correct", "Ann", "Ann")), "c": stored(("name", "hallucinated", None, "x"))}
    measured = from_scores("no_regression", STORED, baseline=before, against="v1", field="name")

    assert measured == Measurement.paired([1.0, 0.0], [0.0, 1.0], "v1")


@pytest.mark.parametrize(
    ("metric", "scope", "words"),
    [
        ("recall", {"field": "nmae"}, "no document has the field nmae"),
        ("routing_decision_rate", {"field": "x"}, "no document has the field x"),
        ("invariants_hold_rate", {}, "no invariants"),
    ],
)
def test_what_cannot_be_counted_is_nothing(metric: str, scope: dict[str, Any], words: str) -> None:
    assert words in from_scores(metric, {"d": STORED["d"]}, **scope).reason


@pytest.mark.parametrize(
    "make",
    [
        lambda: Measurement.rate(3, 2),
        lambda: Measurement.sample([-1.0]),
        lambda: Measurement.sample([float("nan")]),
        lambda: Measurement.paired([1.0], [1.0, 0.0], "base"),
    ],
)
def test_impossible_measurements_are_refused(make: Callable[[], Measurement]) -> None:
    with pytest.raises(ValueError):
        make()
