"""The parts of a metric: title, unit, what it counts, what was measured, and the test against a threshold."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol, Self

from evaluation.inference.prices import HardwarePrice, Price
from evaluation.stats import FamilyCount, RequiredSample
from slmstudio.text.formatting import (
    DEFAULT_CURRENCY,
    exact_percent,
    format_money,
    milliseconds,
    percent,
    points,
    short_number,
)

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
class Measurement:
    """What was measured for one gate; created by the constructors below, one for each kind of metric.

    ``pairs`` holds one pair per document: (wrong fields, counted fields), or (value of the baseline, value of the
    model under test). ``families``: what is counted, summed over the documents of each family: what ``k`` counts, wrong
    fields, or the loss; empty where each document is its own. ``family_words``: what one is, and several are.
    ``is_fresh`` is false for latencies and costs of a run that generated nothing. ``is_applicable`` is false where
    there is nothing to compare with. ``note``: what else was counted or left out; it is part of the verdict.
    ``currency``: of costs.
    """

    n: int = 0
    k: int | None = None
    pairs: tuple[tuple[float, float], ...] = ()
    families: tuple[FamilyCount, ...] = ()
    family_words: tuple[str, str] = ("family", "families")
    values: tuple[float, ...] = ()
    baseline: str = ""
    is_fresh: bool = True
    is_applicable: bool = True
    reason: str = ""
    note: str = ""
    currency: str = ""

    @classmethod
    def nothing(cls, reason: str = "") -> Self:
        """Nothing to measure, and why; it never passes."""
        return cls(reason=reason)

    @classmethod
    def rate(cls, k: int, n: int) -> Self:
        """``k`` of ``n`` documents have what the metric counts. Raises ValueError where that is not a count."""
        if not 0 <= k <= n:
            raise ValueError(f"{k} of {n} is not a count")
        return cls(n=n, k=k)

    @classmethod
    def fields(cls, per_document: Iterable[tuple[int, int]]) -> Self:
        """(wrong fields, counted fields) of each document; documents in which nothing counts are left out."""
        pairs = tuple((float(wrong), float(counted)) for wrong, counted in per_document if counted)
        return cls(n=len(pairs), pairs=pairs)

    @classmethod
    def paired(cls, baseline: Sequence[float], candidate: Sequence[float], name: str) -> Self:
        """A value from 0 to 1 per document of both models, in the same order; ``name`` is that of the baseline."""
        pairs = tuple(zip(map(float, baseline), map(float, candidate), strict=True))
        return cls(n=len(pairs), pairs=pairs, baseline=name)

    @classmethod
    def sample(cls, values: Iterable[float], *, is_fresh: bool = True, note: str = "") -> Self:
        """One number per request (latency in ms, milliseconds of machine time, cost), or one peak of memory in GB.

        Raises:
            ValueError: a value is negative or not finite.
        """
        numbers = tuple(map(float, values))
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError("measured values are finite and not negative")
        return cls(n=len(numbers), values=numbers, is_fresh=is_fresh, note=note)


def three_digits(value: float) -> str:
    """A value with three significant digits."""
    return short_number(float(f"{value:.3g}"))


@dataclass(frozen=True)
class Unit:
    """A unit. ``label`` is shown at a threshold field and ``suffix`` after a value that ``format_value`` formats.

    ``format_threshold`` formats the threshold in a title. ``is_share``: values are shares between 0 and 1, which are
    entered in percent. ``is_money``: amounts in a currency, which no format is given for.
    """

    label: str
    suffix: str = ""
    format_value: Callable[[float], str] = three_digits
    format_threshold: Callable[[float], str] = short_number
    is_share: bool = False
    is_money: bool = False

    def display(self, value: float, *, currency: str = "", with_suffix: bool = True) -> str:
        """A value with its unit: "99.0%", "812 ms", "$0.002"."""
        text = format_money(value, currency) if self.is_money else self.format_value(value)
        return f"{text} {self.suffix}" if with_suffix and self.suffix else text

    def in_title(self, threshold: float, currency: str = "") -> str:
        """A threshold in the title of a gate: "99%", "20 s", "$0.002"."""
        return format_money(threshold, currency) if self.is_money else self.format_threshold(threshold)

    def label_in(self, currency: str) -> str:
        """What is shown at a threshold field: "%", "ms", "USD"."""
        return currency or DEFAULT_CURRENCY if self.is_money else self.label

    def to_input(self, threshold: float) -> str:
        """A threshold as it is entered in a form: 0.995 as "99.5"."""
        return short_number(threshold * 100 if self.is_share else threshold).replace(",", "")

    def from_input(self, number: float) -> float:
        """The threshold that was entered: 99.5 as 0.995."""
        return round(number / 100, 12) if self.is_share else number


def _points_of(share: float) -> str:
    return short_number(round(100 * share, 6))


PERCENT = Unit("%", format_value=percent, format_threshold=exact_percent, is_share=True)
POINTS = Unit("points", "points", points, _points_of, is_share=True)
DOCUMENTS = Unit("documents")
MILLISECONDS = Unit("ms", format_value=milliseconds, format_threshold=milliseconds)
PER_SECOND = Unit("per second", "per second")
MONEY = Unit("", is_money=True)
GIGABYTES = Unit("GB", "GB")


class VerdictStatus(StrEnum):
    """The verdicts of a gate."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_PROVEN = "NOT PROVEN"
    INAPPLICABLE = "INAPPLICABLE"


class ConfidenceLevels(NamedTuple):
    """The confidence of this hold-out evaluation; and the confidence and alpha of the next one, which is the one that
    would use new labels."""

    confidence: float
    next_confidence: float
    next_alpha: float


class Finding(NamedTuple):
    """The result of a test. ``low`` and ``high`` are one-sided bounds, ``required`` the sample that would pass.

    ``is_estimate``: the required sample assumes the current rate and has no number of allowed failures.
    ``effective``: how many independent documents the measured ones count as; None where each counts.
    """

    status: VerdictStatus
    text: str
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    k: int | None = None
    required: RequiredSample | None = None
    is_estimate: bool = False
    effective: float | None = None


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
