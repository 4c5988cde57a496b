"""The default gate policy of a project, from its contract and schema."""

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from evaluation.gates.metrics import METRICS
from evaluation.gates.policy.definition import COMPARED_WITH_DEPLOYED, Gate, GateError, GatePolicy

TEMPLATE_GATES = (
    Gate("schema-valid", "schema_valid_rate", ">=", 0.99),
    Gate("field-errors", "field_error_rate", "<=", 0.10),
    Gate("no-regression", "no_regression", ">=", 0.02, compared_with=COMPARED_WITH_DEPLOYED),
)
INVARIANTS_GATE = Gate("rules", "invariants_hold_rate", ">=", 0.95)
EVIDENCE_GATE = Gate("invented", "hallucination_rate", "<=", 0.05)
#: production constraint of the contract -> the gate whose threshold it is
CONSTRAINT_GATES = {
    "latency_p95_ms": Gate("latency", "p95_latency_ms", "<=", 0),
    "requests_per_second": Gate("throughput", "requests_per_second", ">=", 0),
    "cost_per_request": Gate("cost", "cost_per_request", "<=", 0),
    "hardware_memory_gb": Gate("memory", "peak_memory_gb", "<=", 0),
}


def default_policy(constraints: Mapping[str, Any], *, invariants: bool = False, evidence: bool = False) -> GatePolicy:
    """The policy of a new project.

    Always: at least 99% schema-valid, at most 10% of fields wrong, and at most two points worse than the deployed
    model (the base model where none is deployed). With ``invariants`` (the schema declares some): 95% of outputs
    satisfy them. With ``evidence`` (it has fields that require evidence): at most 5% of documents have a hallucinated
    value. And one gate for each key of ``CONSTRAINT_GATES`` that the contract sets.

    Raises:
        GateError: a constraint is not a positive number; ``field`` names it.
    """
    gates = [*TEMPLATE_GATES, *[INVARIANTS_GATE] * invariants, *[EVIDENCE_GATE] * evidence]
    for name, gate in CONSTRAINT_GATES.items():
        value = constraints.get(name)
        if value is None or value == "":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise GateError(name, f"must be a number; found {value!r}")
        number = float(value)
        if not (math.isfinite(number) and number > 0):
            raise GateError(name, f"must be a number above 0; found {value}")
        currency = str(constraints.get("currency") or "") if METRICS[gate.metric].unit.is_money else ""
        gates.append(replace(gate, threshold=number, title="", currency=currency))
    return GatePolicy(tuple(gates))
