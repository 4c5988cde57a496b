"""What differs between two gate policies, in words. Pure."""

from dataclasses import dataclass

from evaluation.gates.policy.definition import BASE, Gate, GatePolicy, plain
from evaluation.scores.slices import Slice


@dataclass(frozen=True)
class Change:
    """One gate, or the promise to look once: how it stood and how it stands; "" where it is not there."""

    before: str
    after: str

    @property
    def kind(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "changed" if self.before and self.after else "added" if self.after else "removed"


ONCE, OFTEN = "one look at a hold-out, and no other", "any number of looks at a hold-out"


def changes(before: GatePolicy, after: GatePolicy) -> list[Change]:
    """What has to be done to one policy so that it is the other: what goes, then what changes, then what is new."""
    old, new = {gate.key: gate for gate in before}, {gate.key: gate for gate in after}
    found = [Change(words_of(gate), "") for key, gate in old.items() if key not in new]
    for key, gate in new.items():
        if key in old and _asks(old[key]) != _asks(gate):
            found.append(_changed(old[key], gate))
    found += [Change("", words_of(gate)) for key, gate in new.items() if key not in old]
    if before.only_look != after.only_look:
        found.append(Change(*(ONCE if policy.only_look else OFTEN for policy in (before, after))))
    return found


def applied(current: GatePolicy, base: GatePolicy, wanted: GatePolicy) -> GatePolicy:
    """The current policy with what ``wanted`` changes about ``base``; what others changed meanwhile stays."""
    old, new = {gate.key: gate for gate in base}, {gate.key: gate for gate in wanted}
    touched = {key: gate for key, gate in new.items() if key not in old or _asks(old[key]) != _asks(gate)}
    gone = old.keys() - new.keys()
    gates = [touched.get(gate.key, gate) for gate in current if gate.key not in gone]
    there = {gate.key for gate in gates}
    gates += [gate for key, gate in touched.items() if key not in there]
    only_look = wanted.only_look if wanted.only_look != base.only_look else current.only_look
    return GatePolicy(tuple(gates), only_look)


def words_of(gate: Gate, *, confidence: bool = False) -> str:
    """A gate as one line of text; with its confidence where it is asked for, or is not the usual one."""
    parts = [gate.title]
    if gate.slice:
        parts.append(f"for {Slice.parse(gate.slice).words}")
    if gate.compared_with == BASE:
        parts.append("compared with the base model")
    if confidence or gate.confidence != Gate.confidence:
        parts.append(f"at {plain(gate.confidence * 100)} % confidence")
    return ", ".join(parts)


def _changed(old: Gate, new: Gate) -> Change:
    told = old.confidence != new.confidence
    return Change(words_of(old, confidence=told), words_of(new, confidence=told))


def _asks(gate: Gate) -> tuple[object, ...]:
    """What a gate asks; its title only says it."""
    return gate.metric, gate.threshold, gate.confidence, gate.slice, gate.compared_with, gate.field, gate.value
