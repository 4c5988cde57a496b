"""Gate policies as data: read strictly, written back unchanged, pre-filled from a contract."""

import json
from typing import Any

import pytest

from evaluation.gates.policy.definition import Gate, GateError, GateSet, default_policy
from evaluation.scores.slice_selector import Slice
from labeling.demo.templates import templates

SCHEMA = Gate("schema", "schema_valid_rate", ">=", 0.99)
REGRESSION = Gate("regression", "no_regression", ">=", 0.02, compared_with="deployed")
MEMORY = Gate("memory", "peak_memory_gb", "<=", 16)


def test_a_policy_survives_json() -> None:
    policy = GateSet((SCHEMA, REGRESSION, MEMORY), single_evaluation=True)

    assert GateSet.from_json(json.loads(json.dumps(policy.to_json()))) == policy


def test_a_policy_is_a_list_of_gates() -> None:
    policy = GateSet((SCHEMA, MEMORY))

    assert (len(policy), policy[1], list(policy)) == (2, MEMORY, [SCHEMA, MEMORY])
    assert GateSet.from_json([SCHEMA.to_json(), MEMORY.to_json()]) == policy


GOOD: dict[str, Any] = {"key": "schema", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.99}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metric": "bleu"}, "metric"),
        ({"operator": "<="}, "operator"),
        ({"threshold": "0.99"}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"threshold": 99}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": 0.2}, "confidence"),
        ({"key": "Not a key"}, "key"),
        ({"key": 3}, "key"),
        ({"slice": None}, "slice"),
        ({"compared_with": "deployed"}, "compared_with"),
        ({"metric": "no_regression"}, "compared_with"),
        ({"treshold": 1}, "treshold"),
    ],
)
def test_a_wrong_gate_is_refused_by_the_name_of_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(GateError) as refused:
        GateSet.from_json({"gates": [GOOD, {**GOOD, "key": "second", **change}]})

    assert refused.value.field == f"gates[1].{field}"


@pytest.mark.parametrize("name", ["key", "metric", "operator", "threshold"])
def test_a_gate_needs_these(name: str) -> None:
    with pytest.raises(GateError) as refused:
        Gate.from_json({key: value for key, value in GOOD.items() if key != name})

    assert refused.value.field == name


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"gates": {}}, "gates"),
        ({}, "gates"),
        ("[]", "policy"),
        ({"gates": [], "only_look": "yes"}, "only_look"),
        ({"gates": [], "looks": 1}, "looks"),
        ({"gates": [GOOD, GOOD]}, "gates[1].key"),
        ({"gates": ["schema"]}, "gates[0].gate"),
    ],
)
def test_a_wrong_policy_is_refused(data: Any, field: str) -> None:
    with pytest.raises(GateError) as refused:
        GateSet.from_json(data)

    assert refused.value.field == field


# -- about some documents, one field, one class ---------------------------------------------------------------------


def test_a_title_names_field_and_value() -> None:
    gate = Gate("r", "recall", ">=", 0.99, slice="metadata.supplier=ACME", field="category", value="billing")

    assert gate.title.endswith(" (category = billing)")
    assert "99%" in gate.title
    assert Gate.from_json(json.loads(json.dumps(gate.to_json()))) == gate
    assert Gate("p", "pinned_broken", "<=", 0).title == "No pinned document is wrong"


def test_empty_scopes_are_not_stored() -> None:
    """The hash of a policy is over its text, so a policy of before there were fields keeps its hash."""
    names = ["key", "metric", "operator", "threshold", "confidence", "slice", "compared_with", "title"]
    assert list(SCHEMA.to_json()) == names


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slice": "metadata.supplier"}, "slice"),
        ({"slice": "metadata.=x"}, "slice"),
        ({"field": "total"}, "field"),
        ({"metric": "routing_decision_rate"}, "field"),
        ({"metric": "recall", "value": "billing"}, "value"),
        ({"metric": "field_error_rate", "operator": "<=", "field": "a", "value": "b"}, "value"),
        ({"metric": "pinned_broken", "operator": "<=", "threshold": 0, "slice": "poor_scan"}, "slice"),
        ({"metric": "peak_memory_gb", "operator": "<=", "threshold": 1, "field": "total"}, "field"),
        ({"field": 3}, "field"),
    ],
)
def test_a_scope_that_makes_no_sense_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(GateError) as refused:
        Gate.from_json({**GOOD, **change})

    assert refused.value.field == field


@pytest.mark.parametrize(
    ("text", "tags", "metadata", "holds"),
    [
        ("", [], None, True),
        ("poor_scan", ["poor_scan", "other"], {}, True),
        ("poor_scan", [], {"poor_scan": "poor_scan"}, False),
        ("metadata.supplier=ACME", [], {"supplier": "ACME"}, True),
        ("metadata.pages=3", [], {"pages": 3}, True),
        ("metadata.scanned=true", [], {"scanned": True}, True),
        ("metadata.a=b=c", [], {"a": "b=c"}, True),
        ("metadata.supplier=ACME", [], {"supplier": ["ACME"]}, False),
        ("metadata.supplier=ACME", [], None, False),
    ],
)
def test_a_slice_holds_the_documents_it_names(text: str, tags: list[str], metadata: Any, holds: bool) -> None:
    found = Slice.parse(text)

    assert (found.holds(tags=tags, metadata=metadata), str(found)) == (holds, text)


# -- the untouched policy -------------------------------------------------------------------------------------------


def test_the_default_policy_comes_from_the_contract() -> None:
    policy = default_policy(
        {
            "latency_p95_ms": 2000,
            "requests_per_second": 2,
            "cost_per_request": 0.001,
            "hardware_memory_gb": 16,
            "hardware_price_per_hour": 0.1,
            "currency": "USD",
        }
    )

    assert [(gate.metric, gate.threshold) for gate in policy] == [
        ("schema_valid_rate", 0.99),
        ("field_error_rate", 0.10),
        ("no_regression", 0.02),
        ("p95_latency_ms", 2000),
        ("requests_per_second", 2),
        ("cost_per_request", 0.001),
        ("peak_memory_gb", 16),
    ]
    assert policy[0].title == "At least 99% of outputs are schema-valid"
    assert policy[3].title == "95% of requests answered within 2 s"


def test_the_default_policy_follows_the_schema() -> None:
    with_both = default_policy({}, invariants=True, evidence=True)

    assert [gate.metric for gate in with_both][3:] == ["invariants_hold_rate", "hallucination_rate"]


def test_constraints_left_open_make_no_gates() -> None:
    assert len(default_policy({})) == 3
    assert len(default_policy({"latency_p95_ms": None, "cost_per_request": ""})) == 3


@pytest.mark.parametrize("value", ["fast", -1, 0, True, [3]])
def test_a_constraint_that_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(GateError) as refused:
        default_policy({"latency_p95_ms": value})

    assert refused.value.field == "latency_p95_ms"


@pytest.mark.parametrize("template", templates()[1:], ids=lambda template: template.slug)
def test_every_template_has_an_untouched_policy(template: Any) -> None:
    policy = default_policy(template.constraints)

    assert GateSet.from_json(policy.to_json()) == policy
    assert {"latency", "cost", "memory"} <= {gate.key for gate in policy}
