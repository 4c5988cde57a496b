"""Verdicts of gates on measurements, and the sample that would pass a gate that is not proven.

PASS: the bound clears the threshold. FAIL: the opposite bound shows that it does not. NOT PROVEN: neither, or nothing
was measured. INAPPLICABLE: there is nothing to compare with. Bounds are one-sided, at the alpha of the hold-out
evaluation; those of resources (latency, throughput, cost, memory) are at the gate's own confidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.translation import ngettext

from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import ConfidenceLevels, Measurement, VerdictStatus
from evaluation.gates.metrics.verdict_texts import effective_number
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.stats import alpha_level
from slmstudio.text.formatting import exact_percent

#: begins the part of a verdict's sentence about its hold-out evaluation
EVALUATION_NUMBER = ". Hold-out evaluation "


@dataclass(frozen=True)
class Verdict:
    """The verdict of a gate on a measurement.

    ``low`` and ``high`` are the one-sided bounds that the verdict rests on, each at ``confidence``; None without one.
    ``k`` of ``n``: documents that are valid or wrong, or requests within the limit. ``needed`` more documents (or
    requests), with ``allowed_failures`` among them, would pass the gate; both None where it passed or failed, or where
    more would not help (``allowed_failures`` also where ``needed`` is an estimate at the current rate). ``families``:
    of how many families (``family_word``: suppliers, say) the documents are, which count as ``effective`` independent
    ones; None where each counts.
    """

    gate: Gate
    status: VerdictStatus
    measured: float | None
    low: float | None
    high: float | None
    k: int | None
    n: int
    needed: int | None
    allowed_failures: int | None
    sentence: str
    confidence: float
    families: int | None = None
    family_word: str = ""
    effective: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """The verdict as JSON-ready data."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "gate": self.gate.to_json(), "status": str(self.status)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Verdict":
        """Reads the result of ``as_dict``."""
        return cls(**{**data, "gate": Gate.from_json(data["gate"]), "status": VerdictStatus(data["status"])})


def verdict_for(gate: Gate, measurement: Measurement, number: int | None = None) -> Verdict:
    """The verdict of one gate on its measurement.

    ``number`` None: the hold-out is evaluated once, and bounds are at the gate's confidence. ``number`` k, counted from
    1: the k-th of any number of hold-out evaluations; alpha is halved k times (97.5% confidence for the first one of
    a 95% gate), and the required sample is computed at the alpha of the next evaluation, which is the one that would
    use new labels. It changes nothing for resources.
    """
    if not METRICS[gate.metric].spends_alpha:
        number = None
    alpha = round(1 - gate.confidence, 12)
    now = alpha if number is None else alpha_level(number, alpha)
    later = alpha if number is None else alpha_level(number + 1, alpha)
    finding = METRICS[gate.metric].test(
        gate.threshold, replace(measurement, currency=gate.currency), ConfidenceLevels(1 - now, 1 - later, later)
    )
    required = finding.required
    families = len(measurement.families) if finding.effective is not None else None
    notes = [measurement.note] if measurement.note else []
    word = ""
    if families is not None and finding.effective is not None:
        word = measurement.family_words[families > 1]
        notes.append(effective_number(measurement.n, families, word, finding.effective))
    note = f"{', '.join(notes)}: " if notes else ""
    ending = "." if number is None else f"{EVALUATION_NUMBER}{number}: tested at {exact_percent(1 - now)}."
    return Verdict(
        gate=gate,
        status=finding.status,
        measured=finding.measured,
        low=finding.low,
        high=finding.high,
        k=finding.k,
        n=measurement.n,
        needed=required.more if required else None,
        allowed_failures=required.allowed_failures if required and not finding.is_estimate else None,
        sentence=f"{finding.status}: {note}{finding.text}{ending}",
        confidence=1 - now,
        families=families,
        family_word=word,
        effective=None if finding.effective is None else round(finding.effective, 1),
    )


def verdicts_for(
    policy: GateSet, measurements: Mapping[str, Measurement], number: int, *, exhausted: str = ""
) -> list[Verdict]:
    """The verdicts of a policy at its ``number``-th hold-out evaluation, from gate key -> measurement.

    A gate without a measurement is NOT PROVEN. ``exhausted``: why no alpha is left for this evaluation, which can then
    prove nothing; neither can a second evaluation under a policy that allows one. Neither concerns resources.
    """
    if policy.single_evaluation and number > 1:
        exhausted = (
            f"the policy allows one hold-out evaluation and this is number {number}: use a new hold-out or change the "
            "policy"
        )
    verdicts = []
    for gate in policy:
        measurement = measurements.get(gate.key, Measurement.nothing())
        if exhausted and METRICS[gate.metric].spends_alpha:
            measurement = Measurement.nothing(exhausted)
        verdicts.append(verdict_for(gate, measurement, None if policy.single_evaluation else number))
    return verdicts


def all_passed(verdicts: Sequence[Verdict]) -> bool:
    """Whether there are gates and every one of them passes that is applicable."""
    applicable = [verdict for verdict in verdicts if verdict.status is not VerdictStatus.INAPPLICABLE]
    return bool(applicable) and all(verdict.status is VerdictStatus.PASS for verdict in applicable)


def summary_sentence(verdicts: Sequence[Verdict]) -> str:
    """The result of all gates: "Not ready to deploy. 5 of 7 gates pass, 1 fails, 1 is not proven."."""
    if not verdicts:
        return "Not ready to deploy. The policy has no gates."
    count = {status: sum(verdict.status is status for verdict in verdicts) for status in VerdictStatus}
    total, passed = len(verdicts) - count[VerdictStatus.INAPPLICABLE], count[VerdictStatus.PASS]
    if all_passed(verdicts):
        ready = "Ready to deploy. " + ngettext("The gate passes.", "All {n} gates pass.", total).format(n=total)
        return f"{ready}{_inapplicable(count[VerdictStatus.INAPPLICABLE])}"
    gates = ngettext("gate", "gates", total)
    parts = [f"{passed} of {total} {gates} {ngettext('passes', 'pass', passed)}"]
    if failed := count[VerdictStatus.FAIL]:
        parts.append(ngettext("{n} fails", "{n} fail", failed).format(n=failed))
    if unproven := count[VerdictStatus.NOT_PROVEN]:
        parts.append(ngettext("{n} is not proven", "{n} are not proven", unproven).format(n=unproven))
    return f"Not ready to deploy. {', '.join(parts)}.{_inapplicable(count[VerdictStatus.INAPPLICABLE])}"


def _inapplicable(number: int) -> str:
    if not number:
        return ""
    return ngettext(" {n} more is inapplicable.", " {n} more are inapplicable.", number).format(n=number)


def without_number(sentence: str) -> str:
    """A verdict's sentence without its status and hold-out evaluation; also of reports with earlier wording."""
    status = next((str(candidate) for candidate in VerdictStatus if sentence.startswith(f"{candidate}: ")), "")
    text = sentence.removeprefix(f"{status}: ")
    for ending in (EVALUATION_NUMBER, ". Look "):
        text = text.partition(ending)[0]
    return text.rstrip(".")
