"""The differences between two gate policies as text. Pure."""

from dataclasses import dataclass

from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import COMPARED_WITH_BASE
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.scores.slice_selector import Slice
from slmstudio.text.formatting import exact_percent


@dataclass(frozen=True)
class Change:
    """A change of one gate, or of the single evaluation: its text before and after; "" where there is none."""

    before: str
    after: str

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "changed" if self.before and self.after else "added" if self.after else "removed"


SINGLE_EVALUATION, REPEATED_EVALUATION = "a single hold-out evaluation", "any number of hold-out evaluations"


def changes(before: GateSet, after: GateSet) -> list[Change]:
    """The changes that turn one policy into another: removed gates, then changed ones, then added ones."""
    old, new = {gate.key: gate for gate in before}, {gate.key: gate for gate in after}
    listed = [Change(describe(gate), "") for key, gate in old.items() if key not in new]
    for key, gate in new.items():
        if key in old and _requirement(old[key]) != _requirement(gate):
            listed.append(_changed(old[key], gate))
    listed += [Change("", describe(gate)) for key, gate in new.items() if key not in old]
    if before.single_evaluation != after.single_evaluation:
        listed.append(_changed_evaluations(before, after))
    return listed


def rebased(current: GateSet, base: GateSet, wanted: GateSet) -> GateSet:
    """The current policy with the changes from ``base`` to ``wanted``; other changes since ``base`` stay."""
    old, new = {gate.key: gate for gate in base}, {gate.key: gate for gate in wanted}
    touched = {key: gate for key, gate in new.items() if key not in old or _requirement(old[key]) != _requirement(gate)}
    removed = old.keys() - new.keys()
    gates = [touched.get(gate.key, gate) for gate in current if gate.key not in removed]
    keys = {gate.key for gate in gates}
    gates += [gate for key, gate in touched.items() if key not in keys]
    is_changed = wanted.single_evaluation != base.single_evaluation
    return GateSet(tuple(gates), wanted.single_evaluation if is_changed else current.single_evaluation)


def lowered(before: GateSet, after: GateSet) -> dict[str, Change]:
    """The changes, by the gate's key, that let more models pass: a gate is removed, has another scope, or has a lower
    threshold or confidence; "": another number of hold-out evaluations."""
    new = {gate.key: gate for gate in after}
    listed = {
        gate.key: _changed(gate, new[gate.key]) if gate.key in new else Change(describe(gate), "")
        for gate in before
        if gate.key not in new or _is_lower(gate, new[gate.key])
    }
    if before.single_evaluation != after.single_evaluation:
        listed[""] = _changed_evaluations(before, after)
    return listed


def _is_lower(old: Gate, new: Gate) -> bool:
    if _scope(old) != _scope(new) or new.confidence < old.confidence:
        return True
    is_minimum = old.operator == ">=" and not METRICS[old.metric].is_paired  # of a comparison it is the allowed loss
    return new.threshold < old.threshold if is_minimum else new.threshold > old.threshold


def describe(gate: Gate, *, confidence: bool = False) -> str:
    """A gate as one line of text; with its confidence on request, or where it is not the default."""
    parts = [gate.title]
    if gate.slice:
        parts.append(f"for {Slice.parse(gate.slice).words}")
    if gate.compared_with == COMPARED_WITH_BASE:
        parts.append("compared with the base model")
    if confidence or gate.confidence != Gate.confidence:
        parts.append(f"at {exact_percent(gate.confidence)} confidence")
    return ", ".join(parts)


def _changed_evaluations(before: GateSet, after: GateSet) -> Change:
    texts = (SINGLE_EVALUATION if policy.single_evaluation else REPEATED_EVALUATION for policy in (before, after))
    return Change(*texts)


def _changed(old: Gate, new: Gate) -> Change:
    confidence = old.confidence != new.confidence
    return Change(describe(old, confidence=confidence), describe(new, confidence=confidence))


def _requirement(gate: Gate) -> tuple[object, ...]:
    """What a gate requires: everything but its title."""
    return gate.threshold, gate.confidence, *_scope(gate)


def _scope(gate: Gate) -> tuple[object, ...]:
    """What a gate is about. Thresholds of gates with the same one can be compared."""
    return gate.metric, gate.currency, gate.slice, gate.compared_with, gate.field, gate.value
