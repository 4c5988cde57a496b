"""The parts of a metric: title, unit, what it counts, and the test against a threshold."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from evaluation.gates.metrics.measurement import ConfidenceLevels, Finding, Measurement
from evaluation.gates.metrics.units import PERCENT, Unit
from evaluation.inference.prices import HardwarePrice, Price

Operator = Literal["<=", ">="]
#: what a gate compares with, as stored in policies
ABSOLUTE, COMPARED_WITH_DEPLOYED, COMPARED_WITH_BASE, COMPARED_WITH_PRODUCTION = "", "deployed", "base", "production"


class Source(StrEnum):
    """What a metric is counted from."""

    ANSWERS = "answers"
    REGRESSION_SUITE = "regression suite"
    RESOURCES = "resources"


class Request(Protocol):
    """What a metric of resources reads of an output, or of a request that was measured again."""

    latency_ms: float
    prompt_tokens: int
    output_tokens: int
    finish_reason: str


@dataclass(frozen=True)
class Resources:
    """What is known of the run that the requests belong to.

    ``facts``: those of the run or of its newest measurement. ``is_fresh``: false where the run generated nothing.
    ``time_share``: the share of a request's latency that the machine spent on it alone. ``price``: what requests cost.
    """

    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_fresh: bool = True
    time_share: float = 1.0
    price: Price = dataclasses.field(default_factory=lambda: HardwarePrice(None))


@dataclass(frozen=True)
class SuiteAnswers:
    """The regression suite: how many documents are pinned, and which of them the model has right."""

    pinned: int = 0
    right: Mapping[int, bool] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """What a metric counts: the documents of a gate's slice, with the field, value and threshold of the gate.

    ``scores`` and ``baseline``: document key -> score, a ``DocumentScore`` or the dict that it is stored as.
    ``families``: document key -> family; a document without one is its own.
    """

    scores: Mapping[Any, Any] = dataclasses.field(default_factory=dict)
    families: Mapping[Any, int] = dataclasses.field(default_factory=dict)
    baseline: Mapping[Any, Any] | None = None
    baseline_name: str = "the baseline"
    requests: Sequence[Request] = ()
    resources: Resources = dataclasses.field(default_factory=Resources)
    suite: SuiteAnswers = dataclasses.field(default_factory=SuiteAnswers)
    field: str = ""
    value: str = ""
    threshold: float = 0.0


@dataclass(frozen=True)
class Metric:
    """A metric that a gate can test.

    Args:
        title: the title of a gate, with {} for the threshold.
        unit: the unit of its values; thresholds of shares lie between 0 and 1, others are 0 or more.
        operator: the side of the threshold that passes.
        count: the measurement of a sample.
        test: the finding of a threshold, a measurement and confidence levels.
        source: what it is counted from. Only metrics of resources spend no alpha of the hold-out, because they say
            nothing about answers; only metrics of answers are passed by more labeled documents.
        field: whether a gate of it can ("may") or must be about one field, or cannot ("").
        has_values: whether a gate of it can be about one value of a field.
        has_slices: whether a gate of it can be about some of the documents.
        comparisons: what it can compare with, the default first; its measured values are differences then.
        zero_title: the title where the threshold is 0.
    """

    title: str
    unit: Unit
    operator: Operator
    count: Callable[[Sample], Measurement]
    test: Callable[[float, Measurement, ConfidenceLevels], Finding]
    source: Source = Source.ANSWERS
    field: Literal["", "may", "must"] = ""
    has_values: bool = False
    has_slices: bool = True
    comparisons: tuple[str, ...] = (ABSOLUTE,)
    zero_title: str = ""

    @property
    def maximum(self) -> float:
        """The highest threshold."""
        return 1.0 if self.unit.is_share else math.inf

    @property
    def is_paired(self) -> bool:
        """Whether it compares with another model, so that its measured values are differences."""
        return ABSOLUTE not in self.comparisons

    @property
    def is_rate(self) -> bool:
        """Whether its measured values lie between 0 and 1."""
        return self.unit is PERCENT

    @property
    def spends_alpha(self) -> bool:
        """Whether its verdicts spend alpha of the hold-out."""
        return self.source is not Source.RESOURCES

    @property
    def needs_labels(self) -> bool:
        """Whether more labeled documents can pass it."""
        return self.source is Source.ANSWERS

    def title_for(self, threshold: float, field: str = "", value: str = "", currency: str = "") -> str:
        """The title of a gate with this threshold, about this field and value."""
        title = self.zero_title if self.zero_title and threshold == 0 else self.title
        about = f"{field} = {value}" if value else field
        return title.format(self.unit.in_title(threshold, currency)) + (f" ({about})" if about else "")
