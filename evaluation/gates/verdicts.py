"""Gates: three-state verdicts on what was measured, and what a proof would cost.

PASS: the bound clears the threshold. FAIL: the opposite bound shows that it does not. NOT PROVEN: neither. A
metric with nothing to measure is NOT PROVEN. Bounds are one-sided, each at the level of the look (``judge``); those of
what a run takes (latency, throughput, cost, memory) at the gate's own confidence at every look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.gates.display import level
from evaluation.gates.metrics.answers import JUDGES, Levels, Status
from evaluation.gates.policy.definition import METRICS, Gate, GateError, GatePolicy, default_policy
from evaluation.scores.measurements import Measurement
from evaluation.stats import look_level

__all__ = [
    "METRICS",
    "Gate",
    "GateError",
    "GatePolicy",
    "Measurement",
    "Status",
    "Verdict",
    "default_policy",
    "judge",
    "judge_all",
    "may_ship",
    "overall",
]


@dataclass(frozen=True)
class Verdict:
    """What a gate says about a measurement.

    ``low`` and ``high`` are the one-sided bounds the verdict rests on, each at ``confidence``; None where
    there is none. ``k`` of ``n``: documents valid or wrong, or requests within the limit. ``needed`` more
    documents (or requests), with ``allowed_failures`` among them, would prove it; both None where it is
    proven, refuted, or where more would not help (``allowed_failures`` also where the price assumes "go on as
    so far").
    """

    gate: Gate
    status: Status
    measured: float | None
    low: float | None
    high: float | None
    k: int | None
    n: int
    needed: int | None
    allowed_failures: int | None
    sentence: str
    confidence: float

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON-ready data."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "gate": self.gate.to_json(), "status": str(self.status)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Verdict":
        """Reads what ``as_dict`` made."""
        return cls(**{**data, "gate": Gate.from_json(data["gate"]), "status": Status(data["status"])})


def judge(gate: Gate, measurement: Measurement, look: int | None = None) -> Verdict:
    """The verdict of one gate on what was measured for it.

    ``look`` None: the hold-out is looked at this once, and the bounds hold at the gate's confidence. ``look``
    k, counted from 1: the k-th of any number of looks; the error level is halved k times (97.5 % for the
    first look of a 95 % gate), and the price of proof is computed at the level of the next look, which is the
    one that would use the new labels. What a run takes is no look at its answers, so that ``look`` changes nothing
    there.
    """
    if not METRICS[gate.metric].spends:
        look = None
    alpha = round(1 - gate.confidence, 12)
    now = alpha if look is None else look_level(look, alpha)
    later = alpha if look is None else look_level(look + 1, alpha)
    finding = JUDGES[gate.metric](gate.threshold, measurement, Levels(1 - now, 1 - later, later))
    ending = "" if look is None else f" Look {look} at this hold-out: judged at {level(1 - now)}."
    return Verdict(
        gate=gate,
        status=finding.status,
        measured=finding.measured,
        low=finding.low,
        high=finding.high,
        k=finding.k,
        n=measurement.n,
        needed=finding.price.more if finding.price else None,
        allowed_failures=finding.price.allowed_failures if finding.price and not finding.rough else None,
        sentence=f"{finding.status}: {f'{measurement.note}: ' if measurement.note else ''}{finding.words}.{ending}",
        confidence=1 - now,
    )


def judge_all(
    policy: GatePolicy, measurements: Mapping[str, Measurement], look: int, *, spent: str = ""
) -> list[Verdict]:
    """The verdicts of a policy at its ``look``-th look at a hold-out, from gate key -> measurement.

    A gate without a measurement is NOT PROVEN. A policy that promises one look can prove nothing at a second
    one. ``spent``: why no error level is left for this look; it can prove nothing then. Neither concerns what a run
    takes.
    """
    verdicts = []
    for gate in policy:
        measurement = measurements.get(gate.key, Measurement.nothing())
        if not METRICS[gate.metric].spends:
            pass
        elif policy.only_look and look > 1:
            measurement = Measurement.nothing(
                f"the policy allows one look at a hold-out and this is look {look}; take a fresh hold-out, "
                "or let the policy look more than once"
            )
        elif spent:
            measurement = Measurement.nothing(spent)
        verdicts.append(judge(gate, measurement, None if policy.only_look else look))
    return verdicts


def may_ship(verdicts: Sequence[Verdict]) -> bool:
    """Whether there are gates and every one of them passes."""
    return bool(verdicts) and all(verdict.status is Status.PASS for verdict in verdicts)


def overall(verdicts: Sequence[Verdict]) -> str:
    """One sentence over all gates: "May ship: no. 5 of 7 gates pass, 1 fails, 1 is not proven."."""
    if not verdicts:
        return "May ship: no. The policy has no gates."
    if may_ship(verdicts):
        passed = "The gate passes" if len(verdicts) == 1 else f"All {len(verdicts)} gates pass"
        return f"May ship: yes. {passed}."
    count = {status: sum(verdict.status is status for verdict in verdicts) for status in Status}
    parts = [f"{count[Status.PASS]} of {len(verdicts)} {'gate passes' if len(verdicts) == 1 else 'gates pass'}"]
    if failed := count[Status.FAIL]:
        parts.append(f"{failed} {'fails' if failed == 1 else 'fail'}")
    if open_ := count[Status.NOT_PROVEN]:
        parts.append(f"{open_} {'is' if open_ == 1 else 'are'} not proven")
    return f"May ship: no. {', '.join(parts)}."
