"""Gate policies: what must hold before a model may ship, as data.

A policy is JSON: ``{"only_look": false, "gates": [{"key", "metric", "operator", "threshold", "confidence",
"slice", "compared_with", "title", "field", "value"}, ...]}``; ``field`` and ``value`` stand there where they are set.
Reading it is strict; a GateError names the field.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import Any, Self, overload

from evaluation.scores.slices import Slice, SliceError

ABSOLUTE = ""
DEPLOYED = "deployed"
BASE = "base"


class GateError(ValueError):
    """A gate or policy that is not one: ``field`` (like ``gates[2].threshold``) and a sentence."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True)
class Metric:
    """What a gate can ask about: its only sensible operator, the range of its threshold, and its title.

    ``field``: whether a gate of it can be about one field ("may"), has to be ("must"), or cannot ("").
    ``value``: whether it can be about one value of that field. ``documents``: whether more labelled documents are what
    proves it. ``spends``: whether its verdict spends error level of the hold-out; what a run takes tells nothing about
    its answers, so that it does not. ``zero``: the title where nothing is allowed.
    """

    operator: str
    low: float
    high: float
    title: str
    percent: bool = False
    paired: bool = False
    field: str = ""
    value: bool = False
    documents: bool = True
    spends: bool = True
    zero: str = ""

    def title_for(self, threshold: float, field: str = "", value: str = "") -> str:
        """The title of a gate with this threshold, about this field and value of it."""
        words = self.zero if self.zero and threshold == 0 else self.title
        about = f"{field} = {value}" if value else field
        number = plain(threshold * 100 if self.percent else threshold)
        return words.format(number) + (f" ({about})" if about else "")


METRICS = {
    "schema_valid_rate": Metric(">=", 0, 1, "At least {} % of outputs are schema-valid", percent=True),
    "field_error_rate": Metric("<=", 0, 1, "At most {} % of fields are wrong", percent=True, field="may"),
    "document_error_rate": Metric("<=", 0, 1, "At most {} % of documents have an error", percent=True),
    "no_regression": Metric(
        ">=", 0, 1, "No more than {} points worse than the earlier model", percent=True, paired=True, field="may"
    ),
    "recall": Metric(">=", 0, 1, "At least {} % of what gold has is found", percent=True, field="may", value=True),
    "hallucination_rate": Metric("<=", 0, 1, "At most {} % of documents have an invented value", True, field="may"),
    "invariants_hold_rate": Metric(">=", 0, 1, "At least {} % of outputs keep the rules between fields", True),
    "routing_decision_rate": Metric(">=", 0, 1, "At least {} % of documents get a decision", True, field="must"),
    "pinned_broken": Metric(
        "<=",
        0,
        math.inf,
        "At most {} pinned documents are wrong",
        documents=False,
        zero="No pinned document is wrong",
    ),
    "p95_latency_ms": Metric(
        "<=", 0, math.inf, "95 % of requests answered within {} ms", documents=False, spends=False
    ),
    "requests_per_second": Metric(">=", 0, math.inf, "At least {} requests per second", documents=False, spends=False),
    "cost_per_request": Metric(
        "<=", 0, math.inf, "A request costs at most {} on average", documents=False, spends=False
    ),
    "peak_memory_gb": Metric("<=", 0, math.inf, "At most {} GB of memory", documents=False, spends=False),
}


@dataclass(frozen=True)
class Gate:
    """One threshold with the confidence it needs.

    ``threshold`` is a share between 0 and 1 for the rates; for ``no_regression`` it is how much worse than
    the baseline (``compared_with``: the deployed or the base model) a document may become on average, 0.02
    being two points. ``slice`` says which documents ("": all; see ``evaluation.scores.slices``), ``field`` which field
    (a pattern like ``line_items[].amount``; "": all of them), ``value`` which of its values in gold (recall of a
    class).
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

    def __post_init__(self) -> None:
        metric = METRICS.get(self.metric)
        if metric is None:
            raise GateError("metric", f"must be one of {', '.join(METRICS)}; found {self.metric!r}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", self.key):
            raise GateError("key", f"must be lower-case letters, digits and dashes; found {self.key!r}")
        if self.operator != metric.operator:
            raise GateError("operator", f"must be {metric.operator} for {self.metric}; found {self.operator!r}")
        if not (math.isfinite(self.threshold) and metric.low <= self.threshold <= metric.high):
            limits = "between 0 and 1" if metric.percent else "0 or more"
            raise GateError("threshold", f"must be {limits} for {self.metric}; found {self.threshold}")
        if not 0.5 <= self.confidence < 1:
            raise GateError("confidence", f"must be at least 0.5 and below 1; found {self.confidence}")
        allowed = (DEPLOYED, BASE) if metric.paired else (ABSOLUTE,)
        if self.compared_with not in allowed:
            names = " or ".join(repr(name) for name in allowed)
            raise GateError("compared_with", f"must be {names} for {self.metric}; found {self.compared_with!r}")
        self._check_scope(metric)
        if not self.title:
            object.__setattr__(self, "title", metric.title_for(self.threshold, self.field, self.value))

    def _check_scope(self, metric: Metric) -> None:
        """Raises GateError where it is about documents, a field or a value that its metric knows nothing of."""
        try:
            Slice.parse(self.slice)
        except SliceError as error:
            raise GateError("slice", str(error)) from None
        if self.slice and self.metric in ("pinned_broken", "peak_memory_gb"):
            raise GateError("slice", f"cannot be given for {self.metric}")
        if self.field and not metric.field:
            raise GateError("field", f"cannot be given for {self.metric}")
        if not self.field and metric.field == "must":
            raise GateError("field", f"must be given for {self.metric}")
        if self.value and not (metric.value and self.field):
            raise GateError("value", f"takes a field, and a metric that counts its values; found {self.metric}")

    def to_json(self) -> dict[str, Any]:
        """The gate as JSON-ready data."""
        values = asdict(self)
        # Left out where they are empty, so that a policy of before there were any is the same policy.
        return {name: value for name, value in values.items() if value or name not in ("field", "value")}

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
class GatePolicy(Sequence[Gate]):
    """The gates of a project, usable as a list of them.

    ``only_look``: the policy promises to look at a hold-out once, so that this look may spend the whole error
    level. Otherwise every look has its own, smaller level (see ``evaluation.stats.look_level``).
    """

    gates: tuple[Gate, ...]
    only_look: bool = False

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
        return {"only_look": self.only_look, "gates": [gate.to_json() for gate in self.gates]}

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
        rows, only_look = data.get("gates"), data.get("only_look", False)
        if not isinstance(rows, list):
            raise GateError("gates", "must be a list")
        if not isinstance(only_look, bool):
            raise GateError("only_look", "must be true or false")
        gates = []
        for index, row in enumerate(rows):
            try:
                gates.append(Gate.from_json(row))
            except GateError as error:
                raise GateError(f"gates[{index}].{error.field}", error.message) from None
        return cls(tuple(gates), only_look)


def plain(number: float) -> str:
    """A number as people write it: 99, 0.5, 2,000, 0.00021."""
    if 0 < abs(number) < 0.001:
        return f"{Decimal(f'{number:.3g}'):f}"
    text = f"{number + 0.0:,.6f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise GateError(name, f"must be a number; found {value!r}")
    return float(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise GateError(name, f"must be text; found {value!r}")
    return value


TEMPLATE_GATES = (
    Gate("schema-valid", "schema_valid_rate", ">=", 0.99),
    Gate("field-errors", "field_error_rate", "<=", 0.10),
    Gate("no-regression", "no_regression", ">=", 0.02, compared_with=DEPLOYED),
)
CONSTRAINT_GATES = {
    "latency_p95_ms": Gate("latency", "p95_latency_ms", "<=", 0),
    "requests_per_second": Gate("throughput", "requests_per_second", ">=", 0),
    "cost_per_request": Gate("cost", "cost_per_request", "<=", 0),
    "hardware_memory_gb": Gate("memory", "peak_memory_gb", "<=", 0),
}


RULES_GATE = Gate("rules", "invariants_hold_rate", ">=", 0.95)
COPIES_GATE = Gate("invented", "hallucination_rate", "<=", 0.05)


def default_policy(constraints: Mapping[str, Any], *, rules: bool = False, copies: bool = False) -> GatePolicy:
    """The untouched policy of a new project, pre-filled from its contract.

    Always: at least 99 % schema-valid, at most 10 % of fields wrong, no more than two points worse than the
    deployed model (the base model, where nothing is deployed). With ``rules`` (the schema has rules between fields):
    95 % of outputs keep them. With ``copies`` (it has fields that must be copied from the document): at most 5 % of
    documents have an invented value. And one gate for each of ``latency_p95_ms``, ``requests_per_second``,
    ``cost_per_request`` and ``hardware_memory_gb`` that is set; other constraints are no thresholds. Raises GateError
    naming the constraint where its value is no positive number.
    """
    gates = [*TEMPLATE_GATES, *[RULES_GATE] * rules, *[COPIES_GATE] * copies]
    for name, gate in CONSTRAINT_GATES.items():
        value = constraints.get(name)
        if value is None or value == "":
            continue
        number = _number(name, value)
        if not (math.isfinite(number) and number > 0):
            raise GateError(name, f"must be a number above 0; found {value}")
        gates.append(replace(gate, threshold=number, title=METRICS[gate.metric].title_for(number)))
    return GatePolicy(tuple(gates))
