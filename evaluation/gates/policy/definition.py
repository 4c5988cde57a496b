"""Gate policies as data: the gates that a model must pass before it is approved.

A policy is JSON: ``{"only_look": false, "gates": [{"key", "metric", "operator", "threshold", "confidence",
"slice", "compared_with", "title", "field", "value", "currency"}, ...]}``; the last three are present only where they
are set. Reading is strict; a GateError names the field.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import Any, Self, overload

from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import (
    ABSOLUTE,
    COMPARED_WITH_DEPLOYED,
    Metric,
)
from evaluation.scores.slice_selector import Slice, SliceError


class GateError(ValueError):
    """An invalid gate or policy: ``field`` (like ``gates[2].threshold``) and a sentence."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Gate:
    """A threshold on one metric with a required confidence level.

    ``threshold`` is a share between 0 and 1 for rates; for ``no_regression`` and ``non_inferiority`` it is how much
    worse than another model (``compared_with``: the deployed, base or production model) a document may be on average:
    0.02 is two points. ``slice``
    selects documents ("": all; see ``evaluation.scores.slice_selector``), ``field`` a field (a pattern like
    ``line_items[].amount``; "": all), ``value`` one of its values in gold (recall of a class), and
    ``currency`` that of a cost ("": US dollars).
    """

    key: str
    metric: str
    operator: str
    threshold: float
    confidence: float = 0.95
    slice: str = ""
    compared_with: str = ABSOLUTE
    title: str = ""
    field: str = ""
    value: str = ""
    currency: str = ""

    def __post_init__(self) -> None:
        metric = METRICS.get(self.metric)
        if metric is None:
            raise GateError("metric", f"must be one of {', '.join(METRICS)}; found {self.metric!r}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", self.key):
            raise GateError("key", f"must be lowercase letters, digits and hyphens; found {self.key!r}")
        if self.operator != metric.operator:
            raise GateError("operator", f"must be {metric.operator} for {self.metric}; found {self.operator!r}")
        if not (math.isfinite(self.threshold) and 0 <= self.threshold <= metric.maximum):
            limits = "between 0 and 1" if metric.unit.is_share else "0 or more"
            raise GateError("threshold", f"must be {limits} for {self.metric}; found {self.threshold}")
        if not 0.5 <= self.confidence < 1:
            raise GateError("confidence", f"must be at least 0.5 and below 1; found {self.confidence}")
        if self.compared_with not in metric.comparisons:
            names = " or ".join(repr(name) for name in metric.comparisons)
            raise GateError("compared_with", f"must be {names} for {self.metric}; found {self.compared_with!r}")
        self._check_scope(metric)
        if not self.title:
            object.__setattr__(self, "title", self._title_of(metric))

    def _title_of(self, metric: Metric) -> str:
        return metric.title_for(self.threshold, self.field, self.value, self.currency)

    def _check_scope(self, metric: Metric) -> None:
        """Raises GateError where its metric cannot be about its slice, field or value."""
        try:
            Slice.parse(self.slice)
        except SliceError as error:
            raise GateError("slice", str(error)) from None
        if self.slice and not metric.has_slices:
            raise GateError("slice", f"is not supported for {self.metric}")
        if self.field and not metric.field:
            raise GateError("field", f"is not supported for {self.metric}")
        if not self.field and metric.field == "must":
            raise GateError("field", f"is required for {self.metric}")
        if self.value and not (metric.has_values and self.field):
            raise GateError("value", f"requires a field and a metric that counts its values; found {self.metric}")

    def to_json(self) -> dict[str, Any]:
        """The gate as JSON-ready data."""
        values = asdict(self)
        # Omitted where empty: policies from before these fields existed keep their hash.
        return {name: value for name, value in values.items() if value or name not in ("field", "value", "currency")}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Reads one gate; raises GateError for an unknown, missing or ill-typed field."""
        if not isinstance(data, Mapping):
            raise GateError("gate", f"must be an object; found {type(data).__name__}")
        known = {field.name: field for field in fields(cls)}
        for name in data:
            if name not in known:
                raise GateError(str(name), "is not a field of a gate")
        values: dict[str, Any] = {}
        for name in known:
            if name in data:
                read = _number if name in ("threshold", "confidence") else _text
                values[name] = read(name, data[name])
            elif name in ("key", "metric", "operator", "threshold"):
                raise GateError(name, "is missing")
        return cls(**values)


@dataclass(frozen=True)
class GateSet(Sequence[Gate]):
    """The gates of a project; a sequence of them.

    ``single_evaluation`` (stored as ``only_look``): the policy allows one evaluation of a hold-out, which uses the full
    error budget. Otherwise each hold-out evaluation has its own, smaller alpha (see ``evaluation.stats.alpha_level``).
    """

    gates: tuple[Gate, ...]
    single_evaluation: bool = False

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for index, gate in enumerate(self.gates):
            if gate.key in seen:
                raise GateError(f"gates[{index}].key", f"{gate.key!r} is used twice")
            seen.add(gate.key)

    def __len__(self) -> int:
        return len(self.gates)

    def __iter__(self) -> Iterator[Gate]:
        return iter(self.gates)

    @overload
    def __getitem__(self, index: int) -> Gate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Gate]: ...
    def __getitem__(self, index: int | slice) -> Gate | Sequence[Gate]:
        return self.gates[index]

    def to_json(self) -> dict[str, Any]:
        """The policy as JSON-ready data."""
        return {"only_look": self.single_evaluation, "gates": [gate.to_json() for gate in self.gates]}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Reads a policy (or a bare list of gates); raises GateError naming the field, like
        ``gates[2].metric``.
        """
        if isinstance(data, list):
            data = {"gates": data}
        if not isinstance(data, Mapping):
            raise GateError("policy", f"must be an object; found {type(data).__name__}")
        for name in data:
            if name not in ("only_look", "gates"):
                raise GateError(str(name), "is not a field of a policy")
        rows, single_evaluation = data.get("gates"), data.get("only_look", False)
        if not isinstance(rows, list):
            raise GateError("gates", "must be a list")
        if not isinstance(single_evaluation, bool):
            raise GateError("only_look", "must be true or false")
        gates = []
        for index, row in enumerate(rows):
            try:
                gates.append(Gate.from_json(row))
            except GateError as error:
                raise GateError(f"gates[{index}].{error.field}", error.message) from None
        return cls(tuple(gates), single_evaluation)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise GateError(name, f"must be a number; found {value!r}")
    return float(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise GateError(name, f"must be a string; found {value!r}")
    return value


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


def default_policy(constraints: Mapping[str, Any], *, invariants: bool = False, evidence: bool = False) -> GateSet:
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
    return GateSet(tuple(gates))
