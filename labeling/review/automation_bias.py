"""Do people look at pre-labels, or accept them blindly? Counts, shares and intervals. Pure.

A person corrects a share of the fields of the pre-labels they see. Had they looked at all of them as if nothing were
there, they would differ from the model as often as on documents whose pre-label was withheld, where they wrote without
seeing it. So

    blind-accept rate = max(0, 1 - corrected when shown / corrected when withheld)

is 0 where people correct as much as they would have written differently, and 1 where they change nothing although the
model is wrong. It is not a share of documents, it says nothing where the model is always right (nothing to correct when
withheld: no rate), and it takes a few dozen withheld documents to mean much: the interval says how much.

Intervals (95 %): of a share of documents Wilson's; of a share of fields Wilson's with the number of fields divided by
the design effect, because the fields of one document are alike (Kish, Survey Sampling, 1965); of the ratio the limits
of both shares put together by the method of variance estimates recovery (Donner and Zou, Stat Methods Med Res 21,
2012). In simulations of 100 shown and 5 withheld up to 1,000 and 50 documents they held the truth 91 to 97 % of the
time.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from slmstudio.intervals import Interval, wilson


@dataclass(frozen=True, slots=True)
class Bundle:
    """``documents`` submissions of a person that look alike: of ``fields`` fields ``changed`` differ from the model's.

    ``shown``: the person saw the pre-label; else it was withheld.
    """

    person: str
    shown: bool
    changed: int
    fields: int
    documents: int = 1


@dataclass(slots=True)
class Corrected:
    """Fields that differ from the prediction, over some documents."""

    documents: int = 0
    fields: int = 0
    changed: int = 0
    untouched: int = 0
    # of changed², changed * fields and fields², for the spread between documents
    _squares: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, bundle: Bundle) -> None:
        """Counts some documents."""
        self.documents += bundle.documents
        self.fields += bundle.fields * bundle.documents
        self.changed += bundle.changed * bundle.documents
        self.untouched += bundle.documents if bundle.changed == 0 else 0
        for index, product in enumerate((bundle.changed**2, bundle.changed * bundle.fields, bundle.fields**2)):
            self._squares[index] += product * bundle.documents

    @property
    def share(self) -> float | None:
        """Share of fields that differ; None without any field."""
        return self.changed / self.fields if self.fields else None

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval, with the document as the unit."""
        if not self.fields:
            return None
        share = self.changed / self.fields
        return wilson(share, self.fields / self._design_effect(share))

    @property
    def unchanged(self) -> float | None:
        """Share of documents in which nothing differs."""
        return self.untouched / self.documents if self.documents else None

    @property
    def unchanged_interval(self) -> Interval | None:
        """Its 95 % interval."""
        return wilson(self.untouched / self.documents, self.documents) if self.documents else None

    def _design_effect(self, share: float) -> float:
        """How many fields are worth as much as one independent one: 1 to the number of fields of a document."""
        mean = self.fields / self.documents
        if self.documents < 2 or not 0 < share < 1:
            return max(1.0, mean)  # nothing to estimate it from: as if a document were one observation
        changed2, product, fields2 = self._squares
        between = (changed2 - 2 * share * product + share**2 * fields2) / (self.documents - 1)
        variance = self.documents * between / self.fields**2
        return max(1.0, variance / (share * (1 - share) / self.fields))


@dataclass(slots=True)
class Looks:
    """One person, or everybody. ``shown``: pre-labels they saw; ``withheld``: documents they wrote without seeing."""

    person: str
    shown: Corrected = field(default_factory=Corrected)
    withheld: Corrected = field(default_factory=Corrected)

    @property
    def blind(self) -> float | None:
        """The blind-accept rate; None where nothing was shown, or nothing was to be corrected when withheld."""
        seen, unseen = self.shown.share, self.withheld.share
        return max(0.0, 1 - seen / unseen) if seen is not None and unseen else None

    @property
    def blind_interval(self) -> Interval | None:
        """Its 95 % interval."""
        seen, unseen = self.shown, self.withheld
        if self.blind is None or seen.interval is None or unseen.interval is None:
            return None
        low, high = _ratio(seen.share or 0.0, seen.interval, unseen.share or 0.0, unseen.interval)
        return max(0.0, 1 - high), min(1.0, max(0.0, 1 - low))


@dataclass(frozen=True, slots=True)
class Honesty:
    """``people`` by name, and ``everybody`` together."""

    people: tuple[Looks, ...]
    everybody: Looks


def summed(bundles: Iterable[Bundle]) -> Honesty:
    """Sums up submissions per person and overall."""
    people: dict[str, Looks] = {}
    everybody = Looks("")
    for bundle in bundles:
        for looks in (people.setdefault(bundle.person, Looks(bundle.person)), everybody):
            (looks.shown if bundle.shown else looks.withheld).add(bundle)
    return Honesty(tuple(people[name] for name in sorted(people)), everybody)


def _ratio(one: float, first: Interval, two: float, second: Interval) -> Interval:
    """Limits of ``one / two`` from the limits of both (Donner and Zou, equation 9); ``two`` is above 0."""
    (low1, high1), (low2, high2) = first, second
    product = one * two

    def limit(inner: float, outer: float, sign: int) -> float:
        divisor = outer * (2 * two - outer)
        root = math.sqrt(max(0.0, product**2 - inner * (2 * one - inner) * divisor))
        if abs(divisor) < 1e-12:
            return math.inf if sign > 0 else inner * (2 * one - inner) / (2 * product) if product else 0.0
        return (product + sign * root) / divisor

    upper = limit(high1, low2, 1) if low2 > 0 else math.inf
    return max(0.0, limit(low1, high2, -1)), upper
