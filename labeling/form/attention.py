"""Exception-only labeling: which fields of a pre-filled form need attention, and why. Pure.

Tab skips a field that passes every check. The checks do not know gold: a value that passes can still be wrong, and
docs/prelabels.md describes how to measure how often.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from labeling.form.merge import MISSING, same, value_at
from labeling.form.nodes import FormNode, children_with_values
from labeling.form.tree import tree_of
from labeling.form.validation import Checks
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.text.formatting import exact_percent

_NOWHERE: Final = "is not in the document"

Reasons = dict[str, list[str]]


def attention_reasons(
    compiled: CompiledSchema,
    value: Any,
    checks: Checks,
    confidence: Mapping[str, float],
    floor: float,
    predicted: Any,
) -> Reasons:
    """Every leaf of a value with the reasons why it needs attention; an empty list: it passes.

    A reason is a predicate, displayed at the field: the schema rejects the value; it is not in the document and not
    confirmed; an invariant on it is broken; it is required and empty; the model's confidence is below ``floor``.

    ``checks``: the checks of this value (``labeling.form.validation.check``). ``confidence``: field path -> probability
    as in ``Prediction.confidence``. It applies only to fields that the user has not changed from ``predicted``, the
    model's whole value.

    Leaves are in the order of the form, including empty ones. Reasons without a leaf (a list that needs more rows, an
    unknown name, the whole document: "") follow under their own path.
    """
    reasons: Reasons = {}
    empty: set[str] = set()
    for path, node, leaf, asked in _leaves(tree_of(compiled), value, "", asked=True):
        reasons[path] = []
        if asked and node.required and leaf in (None, ""):
            empty.add(path)
        sure = confidence.get(path)
        if sure is not None and sure < floor and _is_unchanged(predicted, path, leaf):
            what = " that it is not in the document" if leaf is None else ""
            reasons[path].append(f"the model is {exact_percent(_rounded_down(sure))} confident{what}")
    for path, sentence in _broken(compiled, value, checks):
        own = reasons.setdefault(path, [])
        if sentence not in own:
            # Errors come before the model's confidence.
            own.insert(len(own) - _confidence_count(own), sentence)
    for path in empty:
        # Either the schema reports it, or it accepts an empty value, which is not searched for in the text.
        if path not in {problem.path for problem in checks.problems}:
            reasons[path] = ["is required and empty", *(why for why in reasons[path] if why != _NOWHERE)]
    return reasons


def _rounded_down(probability: float) -> float:
    """To whole percents, so that 79.9% is not displayed as the required 80%."""
    return max(0, min(100, int(probability * 100))) / 100


def _confidence_count(found: list[str]) -> int:
    """How many reasons at the end of a list are about confidence: 0 or 1."""
    return int(bool(found) and found[-1].startswith("the model is "))


def _broken(compiled: CompiledSchema, value: Any, checks: Checks) -> Iterator[tuple[str, str]]:
    """(path, message) of every finding of the checks; a broken invariant at every field it names."""
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
    """(path, node, value, whether required fields apply) of every leaf, including empty ones.

    An absent optional group requires nothing.
    """
    if node.is_leaf:
        yield path, node, value, asked
        return
    if node.shape == "group":
        asked = asked and (node.required or value is not None)
    in_place = node.shape in ("group", "variants")
    for here, inner, inside in children_with_values(node, value, path):
        yield from _leaves(inner, inside, here, asked=asked if in_place else True)


def _is_unchanged(predicted: Any, path: str, value: Any) -> bool:
    """Whether the model's value at this path is unchanged."""
    before = value_at(predicted, path)
    return same(None if before is MISSING else before, value)
