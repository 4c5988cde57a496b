"""Exception-only labeling: which fields of a pre-filled form a person must look at, and why. Pure.

A field that passes every check stays quiet: Tab passes it by. The checks know nothing of gold; what they let through
can still be wrong, and how often it is can be measured (docs/prelabels.md).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from labeling.form.merge import same
from labeling.form.nodes import FormNode, parts
from labeling.form.tree import tree_of
from labeling.form.validation import Checks
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema, split


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = _Unknown()
_NOWHERE: Final = "is not in the document"

Reasons = dict[str, list[str]]


def exceptions(
    compiled: CompiledSchema,
    value: Any,
    checks: Checks,
    confidence: Mapping[str, float],
    floor: float,
    predicted: Any = UNKNOWN,
) -> Reasons:
    """Every leaf of a value with the reasons why a person must look at it; an empty list: it passes.

    The reasons are short sentences without their subject, to stand beside the field: it breaks the schema; it is not in
    the document (and nobody confirmed that); an invariant that names it is broken; it is required and empty; the model
    is less sure of it than ``floor``.

    ``checks`` are those of this very value (``labeling.form.validation.check``). ``confidence`` is field path ->
    probability as in ``Prediction.confidence``. Where ``predicted`` is given, that is, the model's whole value,
    confidence counts only for fields that still hold what the model wrote: a person has seen to the others.

    Leaves come in the order of the form, empty ones included. What no leaf stands for (a list that needs more rows, a
    name the schema does not know, the whole document: "") follows under its own path, only where there is a reason.
    """
    reasons: Reasons = {}
    empty: set[str] = set()
    for path, node, leaf, asked in _leaves(tree_of(compiled), value, "", asked=True):
        reasons[path] = []
        if asked and node.required and leaf in (None, ""):
            empty.add(path)
        sure = confidence.get(path)
        if sure is not None and sure < floor and (predicted is UNKNOWN or _still(predicted, path, leaf)):
            what = " that it is not in the document" if leaf is None else ""
            reasons[path].append(f"the model is {_percent(sure)} % sure{what}")
    for path, sentence in _broken(compiled, value, checks):
        found = reasons.setdefault(path, [])
        if sentence not in found:
            # What is certain stands in front of what the model says of itself.
            found.insert(len(found) - _unsure(found), sentence)
    for path in empty:
        # Either the schema says so itself, or it takes an empty value, which then need not be looked for in the text.
        if path not in {problem.path for problem in checks.problems}:
            reasons[path] = ["is required and empty", *(why for why in reasons[path] if why != _NOWHERE)]
    return reasons


def _percent(probability: float) -> int:
    """Rounded down, so that 79.9 % never reads as the 80 % that were asked for."""
    return max(0, min(100, int(probability * 100)))


def _unsure(found: list[str]) -> int:
    """How many of the reasons at the end of a list are the model's own doubt: none or one."""
    return int(bool(found) and found[-1].startswith("the model is "))


def _broken(compiled: CompiledSchema, value: Any, checks: Checks) -> Iterator[tuple[str, str]]:
    """(path, sentence) of everything the checks found; a broken invariant at every field it names."""
    for problem in checks.problems:
        yield problem.path, problem.message
    for warning in checks.warnings:
        if warning.rule != "invariant":
            yield warning.path, warning.message
    if any(warning.rule == "invariant" for warning in checks.warnings):
        for rule in invariants.broken(compiled, value):
            if checks.is_confirmed(rule, value):
                continue
            for path in dict.fromkeys((*rule.paths, rule.problem.path)):
                yield path, rule.problem.message


def _leaves(node: FormNode, value: Any, path: str, *, asked: bool) -> Iterator[tuple[str, FormNode, Any, bool]]:
    """(path, node, value, whether what is required counts here) of every leaf, empty ones included.

    An optional group that is not there asks for nothing.
    """
    if node.is_leaf:
        yield path, node, value, asked
        return
    if node.shape == "group":
        asked = asked and (node.required or value is not None)
    in_place = node.shape in ("group", "variants")
    for here, inner, found in parts(node, value, path):
        yield from _leaves(inner, found, here, asked=asked if in_place else True)


def _still(predicted: Any, path: str, value: Any) -> bool:
    """Whether the model's value has this at this path."""
    for step in split(path):
        if isinstance(step, int):
            predicted = predicted[step] if isinstance(predicted, list) and step < len(predicted) else None
        else:
            predicted = predicted.get(step) if isinstance(predicted, dict) else None
    return same(predicted, value)
