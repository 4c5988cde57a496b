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
    assert GateSet.from_json([SCHEMA.to_json(), MEMORY.to_json()]) == GateSet((SCHEMA, MEMORY))
    for template in templates()[1:]:
        untouched = default_policy(template.constraints)
        assert GateSet.from_json(untouched.to_json()) == untouched
        assert {"latency", "cost", "memory"} <= {gate.key for gate in untouched}


GOOD: dict[str, Any] = {"key": "schema", "metric": "schema_valid_rate", "operator": ">=", "threshold": 0.99}


def test_a_wrong_gate_is_refused_by_the_name_of_its_field() -> None:
    changes: list[tuple[dict[str, Any], str]] = [
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
    ]
    for change, field in changes:
        with pytest.raises(GateError) as refused:
            GateSet.from_json({"gates": [GOOD, {**GOOD, "key": "second", **change}]})
        assert refused.value.field == f"gates[1].{field}"
    for name in GOOD:
        with pytest.raises(GateError) as refused:
            Gate.from_json({key: value for key, value in GOOD.items() if key != name})
        assert refused.value.field == name


def test_a_wrong_policy_is_refused() -> None:
    policies: list[tuple[Any, str]] = [
        ({"gates": {}}, "gates"),
        ({}, "gates"),
        ("[]", "policy"),
        ({"gates": [], "only_look": "yes"}, "only_look"),
        ({"gates": [], "looks": 1}, "looks"),
        ({"gates": [GOOD, GOOD]}, "gates[1].key"),
        ({"gates": ["schema"]}, "gates[0].gate"),
    ]
    for data, field in policies:
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


def test_a_scope_that_makes_no_sense_is_refused() -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"slice": "metadata.supplier"}, "slice"),
        ({"slice": "metadata.=x"}, "slice"),
        ({"field": "total"}, "field"),
        ({"metric": "routing_decision_rate"}, "field"),
        ({"metric": "recall", "value": "billing"}, "value"),
        ({"metric": "field_error_rate", "operator": "<=", "field": "a", "value": "b"}, "value"),
        ({"metric": "pinned_broken", "operator": "<=", "threshold": 0, "slice": "poor_scan"}, "slice"),
        ({"metric": "peak_memory_gb", "operator": "<=", "threshold": 1, "field": "total"}, "field"),
        ({"field": 3}, "field"),
    ]
    for change, field in changes:
        with pytest.raises(GateError) as refused:
            Gate.from_json({**GOOD, **change})
        assert refused.value.field == field


def test_a_slice_holds_the_documents_it_names() -> None:
    documents: list[tuple[str, list[str], Any, bool]] = [
        ("", [], None, True),
        ("poor_scan", ["poor_scan", "other"], {}, True),
        ("poor_scan", [], {"poor_scan": "poor_scan"}, False),
        ("metadata.supplier=ACME", [], {"supplier": "ACME"}, True),
        ("metadata.pages=3", [], {"pages": 3}, True),
        ("metadata.scanned=true", [], {"scanned": True}, True),
        ("metadata.a=b=c", [], {"a": "b=c"}, True),
        ("metadata.supplier=ACME", [], {"supplier": ["ACME"]}, False),
        ("metadata.supplier=ACME", [], None, False),
    ]
    for text, tags, metadata, holds in documents:
        selected = Slice.parse(text)
        assert (selected.holds(tags=tags, metadata=metadata), str(selected)) == (holds, text)


# -- the untouched policy -------------------------------------------------------------------------------------------


def test_the_default_policy_comes_from_contract_and_schema() -> None:
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
    with_both = default_policy({}, invariants=True, evidence=True)
    assert [gate.metric for gate in with_both][3:] == ["invariants_hold_rate", "hallucination_rate"]
    assert len(default_policy({"latency_p95_ms": None, "cost_per_request": ""})) == 3, "open constraints make no gates"
    for value in ("fast", -1, 0, True, [3]):
        with pytest.raises(GateError) as refused:
            default_policy({"latency_p95_ms": value})
        assert refused.value.field == "latency_p95_ms"
