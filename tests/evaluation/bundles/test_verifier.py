"""The verifier against the application: what one of them scores the other must accept, and nothing else."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import stats
from evaluation.bundles.verifier import bounds
from evaluation.bundles.verifier.documents import SPELLING, Checker, Findings
from evaluation.bundles.verifier.verdicts import Evidence, check_gate
from evaluation.gates.metrics import METRICS
from evaluation.gates.policy.definition import Gate
from evaluation.gates.verdicts import Measurement, verdict_for
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.scoring.scorer import score_document
from tests.evaluation.scores.test_independent_scorer import INVOICE, clear_runs, flat_runs

LISTS = {
    "type": "object",
    "properties": {
        "vendor": {"type": ["string", "null"]},
        "notes": {"type": "string", "x-slm": {"kind": "free"}},
        "codes": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "items": {
            "type": "array",
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "amount": {"type": ["number", "null"], "multipleOf": 0.01},
                    "kind": {"type": "string", "enum": ["goods", "work"]},
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["name", "amount", "kind"],
            },
        },
    },
    "required": ["items"],
    "x-slm": {"invariants": ["sum(items[].amount) == 100"], "tolerance": 0.01},
}
Run = tuple[list[dict[str, Any]], dict[str, Any]]


def stored(score: Any, key: str) -> dict[str, Any]:
    """A score as a line of documents.jsonl."""
    values = loads(dumps(score.as_dict()))
    return {**values, "id": key, "free": [one["path"] for one in values.get("free", ())]}


def lines(schema: dict[str, Any], run: Run) -> list[dict[str, Any]]:
    compiled, found = compile_schema(schema), []
    for row in run[0]:
        event = run[1][row["id"]]
        score = score_document(
            compiled, text=row["text"], gold=row["gold"], raw=event["raw"], finish_reason=event["finish_reason"]
        )
        found.append(stored(score, row["id"]))
    return found


def checked(schema: dict[str, Any], run: Run, scores: list[dict[str, Any]]) -> Findings:
    checker = Checker(loads(dumps(schema)))
    for row, score in zip(run[0], scores, strict=True):
        checker.check(loads(dumps(row)), run[1][row["id"]], score, extract=False)
    return checker.found


@pytest.mark.slow
@given(flat_runs())
@settings(max_examples=80, deadline=None)
def test_scores_of_any_run_without_lists_are_accepted(run: tuple[dict[str, Any], list[Any], dict[str, Any]]) -> None:
    schema, dataset, outputs = run
    assert checked(schema, (dataset, outputs), lines(schema, (dataset, outputs))).problems == []


@given(clear_runs())
@settings(max_examples=60, deadline=None)
def test_clear_values_are_counted_again_and_not_taken(run: Run) -> None:
    found = checked(INVOICE, run, lines(INVOICE, run))
    assert found.problems == []
    assert not found.accepted


_rows = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["tea", "tea pot", "kettle", "anchor"]),
        "amount": st.none() | st.sampled_from([loads("25.00"), loads("50.00"), loads("99.5")]),
        "kind": st.sampled_from(["goods", "work", "none"]),
    },
    optional={"tags": st.lists(st.sampled_from("ab"), max_size=2), "more": st.sampled_from([1, "x", None])},
)


@st.composite
def list_runs(draw: st.DrawFn) -> Run:
    """Rows in another order, too many, too few and changed; lists in rows, and names that the schema does not have."""
    gold: dict[str, Any] = {
        "vendor": draw(st.none() | st.just("Acme")),
        "codes": draw(st.lists(st.sampled_from("abc"), max_size=3)),
    }
    gold |= {"notes": "as agreed", "items": draw(st.lists(_rows, max_size=4))}
    items = draw(st.permutations(gold["items"]))[: draw(st.integers(0, 4))] + draw(st.lists(_rows, max_size=2))
    output = {**gold, "items": items, "codes": draw(st.lists(st.sampled_from("abc"), max_size=3))}
    output |= draw(st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["a", {"b": 1}]), max_size=1))
    return [{"id": "d", "text": "tea kettle 25.00", "gold": gold}], {
        "d": {"raw": dumps(output), "finish_reason": "stop"}
    }


@given(list_runs())
@settings(max_examples=120, deadline=None)
def test_scores_of_lists_are_accepted(run: Run) -> None:
    found = checked(LISTS, run, lines(LISTS, run))
    assert found.problems == []
    assert not found.accepted[SPELLING]


@given(list_runs(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_no_error_of_a_list_can_be_hidden(run: Run, rng: random.Random) -> None:
    [score] = lines(LISTS, run)
    wrong = [one for one in score["fields"] if one["outcome"] not in ("correct", "both_absent")]
    if wrong:
        rng.choice(wrong)["outcome"] = "correct"
        assert checked(LISTS, run, [score]).problems


@pytest.mark.parametrize("confidence", [0.95, 0.975, 0.99375])
def test_bounds_are_those_of_the_application(confidence: float) -> None:
    for k, n in ((0, 12), (1, 12), (40, 40), (38, 40), (970, 1000)):
        assert bounds.exact_lower(k, n, confidence) == pytest.approx(stats.exact_lower(k, n, confidence), abs=1e-9)
        assert bounds.exact_upper(k, n, confidence) == pytest.approx(stats.exact_upper(k, n, confidence), abs=1e-9)
    rng = random.Random(7)
    for n in (5, 58, 59, 300):
        values = [rng.lognormvariate(6, 0.4) for _ in range(n)]
        assert bounds.quantile_upper(values, 0.95, confidence) == stats.quantile_upper(values, 0.95, confidence)
        assert bounds.quantile_lower(values, 0.95, confidence) == stats.quantile_lower(values, 0.95, confidence)


@pytest.mark.parametrize("confidence", [0.95, 0.99375])
def test_bounds_over_families_and_of_means_are_those_of_the_application(confidence: float) -> None:
    rng = random.Random(3)
    alpha = pytest.approx(1 - confidence, rel=1e-6)
    for n in (3, 40, 300):
        counts = [(rng.randint(-3, 8) / 8, 1.0 + rng.randint(0, 4)) for _ in range(n)]
        assert bounds.family_p_value(counts, stats.family_upper(counts, confidence)) == alpha
        times = [rng.lognormvariate(6, 0.4) for _ in range(n)]
        assert bounds.mean_p_value(times, stats.mean_bound(times, confidence=confidence) or 0) == alpha


@pytest.mark.parametrize("metric", ["requests_per_second", "cost_per_request"])
def test_bounds_of_means_are_computed_again_from_the_times(metric: str) -> None:
    rng = random.Random(5)
    times = {f"d{at}": (rng.lognormvariate(6, 0.4), False) for at in range(60)}
    gate = Gate("gate", metric, METRICS[metric].operator, 0.001)
    verdict = verdict_for(gate, Measurement.sample([3 * spent for spent, _ in times.values()])).as_dict()
    inputs = {"documents": list(times), "removed": []}
    evidence = Evidence({}, requests=times)
    assert check_gate(verdict, inputs, evidence, 1, False).problems == []
    for name in ("low", "high"):
        wrong = {**verdict, name: verdict[name] * 1.001}
        assert check_gate(wrong, inputs, evidence, 1, False).problems, name
