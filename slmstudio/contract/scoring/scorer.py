"""Score one output against one gold value, per field and per document.

A field is correct if its value and gold are equal after normalization by the field's kind (``kinds``), without fuzzy
matching. A missing field and null are equivalent. Rows of a list are paired first (``pairing``). An output that is not
JSON, not an object, or was cut off is invalid: all its fields are unscorable and stay in every denominator. A field
whose value violates the schema is wrong even if it could be parsed. A field that is not in the schema is an error of
its own (``EXTRA_KEYS``) unless gold has it too, with the same value. A field of kind free is for people and is not
scored. Sums over many documents are in ``summary``, ``classes``, ``slices`` and ``protocols``.
"""

from collections.abc import Iterator
from typing import Any

from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import MAX_PROBLEMS, CompiledSchema, ValueProblem, exact
from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.schema.structure import Node, join
from slmstudio.contract.scoring.field_scorer import FieldScorer
from slmstudio.contract.scoring.outcomes import ERROR_LABELS, EXTRA_KEYS, DocumentScore, FieldOutcome, FreeText, Outcome
from slmstudio.contract.scoring.pairing import Leaf, align_rows, cells, get, pair
from slmstudio.contract.scoring.protocols import cord, sroie
from slmstudio.contract.scoring.summary import (
    class_scores,
    clustered,
    metadata_slices,
    slices,
    summarize,
    wilson,
    with_families,
)
from slmstudio.contract.values.kinds.registry import KINDS
from slmstudio.contract.values.kinds.values import normalize

__all__ = [
    "ERROR_LABELS",
    "EXTRA_KEYS",
    "SCORER_VERSION",
    "DocumentScore",
    "FieldOutcome",
    "FreeText",
    "Outcome",
    "cells",
    "class_scores",
    "clustered",
    "cord",
    "count_differences",
    "metadata_slices",
    "score_document",
    "slices",
    "sroie",
    "summarize",
    "wilson",
    "with_families",
]

SCORER_VERSION = "5"


def count_differences(compiled: CompiledSchema, left: Any, right: Any) -> tuple[int, int]:
    """The difference between two values of one document: (number of different fields, number of non-empty fields).

    Compared as in scoring: after normalization by the kind of the field, rows paired by similarity. Raises ValueError
    for values that are not JSON.
    """
    pairs = [
        (normalize(leaf.gold, leaf.field), normalize(leaf.output, leaf.field))
        for leaf in pair(compiled.root, exact(left), exact(right))
        if leaf.gold is not None or leaf.output is not None
    ]
    return sum(value != other for value, other in pairs), len(pairs)


def _unknown_field_errors(node: Node, gold: Any, output: Any, path: str = "") -> Iterator[FieldOutcome]:
    """The errors of fields that are not in the schema: one that gold lacks is an error whether or not the schema is
    open, one that gold has must have the same value, and is required if the schema is open. A missing field and null
    are equivalent there.

    Rows in the path are numbered as in the output.
    """
    if isinstance(output, list) and node.item is not None:
        yield from _unknown_field_errors_in_rows(node, node.item, gold if isinstance(gold, list) else [], output, path)
    known = gold if isinstance(gold, dict) else {}
    given = output if isinstance(output, dict) else {}
    for name, child in node.children.items():
        yield from _unknown_field_errors(child, known.get(name), given.get(name), join(path, name))
    for name in [name for name in given if name not in node.children] if node.children else []:
        here, item = join(path, name), given[name]
        if node.open and item is None and known.get(name) is None:
            continue
        if name not in known:
            yield FieldOutcome(here, EXTRA_KEYS, Outcome.EXTRA, None, item, "extra_key")
        elif identity(known[name]) != identity(item):
            yield FieldOutcome(here, EXTRA_KEYS, Outcome.WRONG, known[name], item, "wrong_value")
    for name in known if node.open else ():
        if name not in node.children and name not in given and known[name] is not None:
            yield FieldOutcome(join(path, name), EXTRA_KEYS, Outcome.MISSING, known[name], None, "missing")


def _unknown_field_errors_in_rows(
    node: Node, item: Node, gold: list[Any], output: list[Any], path: str
) -> Iterator[FieldOutcome]:
    opened = any(inner.open for inner in item.nodes())
    if not opened and not any(True for row in output for _ in _unknown_field_errors(item, None, row)):
        return
    pairs = align_rows([cells(item, row) for row in gold], [cells(item, row) for row in output], ordered=node.ordered)
    for left, right in pairs:
        if right is not None:
            yield from _unknown_field_errors(
                item, None if left is None else gold[left], output[right], f"{path}[{right}]"
            )


def _misses_required(node: Node, value: Any) -> bool:
    """Whether an output lacks a required field."""
    if isinstance(value, list) and node.item is not None:
        return any(_misses_required(node.item, item) for item in value)
    if not isinstance(value, dict):
        return False
    return any(
        (child.required and name not in value) or _misses_required(child, get(value, name))
        for name, child in node.children.items()
    )


def _complete(compiled: CompiledSchema, output: Any, problems: list[ValueProblem]) -> bool:
    if any(problem.rule == "required" for problem in problems):
        return False
    # A full list of problems is truncated, and the missing field may be behind the cut.
    return len(problems) < MAX_PROBLEMS or not _misses_required(compiled.root, output)


def _split_free_text(leaves: list[Leaf]) -> tuple[list[Leaf], tuple[FreeText, ...]]:
    """The leaves that are scored, and the free text that is not."""
    scored = [leaf for leaf in leaves if KINDS[leaf.field.kind].scored]
    if len(scored) == len(leaves):
        return leaves, ()
    free = (
        leaf
        for leaf in leaves
        if not KINDS[leaf.field.kind].scored and (leaf.gold is not None or leaf.output is not None)
    )
    return scored, tuple(FreeText(leaf.path, leaf.field.pattern, leaf.gold, leaf.output) for leaf in free)


def _invalid(
    compiled: CompiledSchema, gold: Any, problem: ValueProblem, parsed: Any, valid_json: bool
) -> DocumentScore:
    error = {"length": "cut_off", "error": "no_output"}.get(problem.rule, "format")
    leaves, free = _split_free_text(list(pair(compiled.root, gold, None)))
    fields = tuple(
        # There is no output, so a field that gold leaves empty is missing on both sides.
        FieldOutcome(leaf.path, leaf.field.pattern, Outcome.BOTH_ABSENT, None, None)
        if leaf.gold is None
        else FieldOutcome(leaf.path, leaf.field.pattern, Outcome.UNSCORABLE, leaf.gold, None, error)
        for leaf in leaves
    )
    kept = False if invariants.declared(compiled) else None
    return DocumentScore(valid_json, False, False, False, False, kept, parsed, fields, (problem,), free)


def score_document(
    compiled: CompiledSchema, *, text: str, gold: Any, raw: str | None, finish_reason: str = "stop"
) -> DocumentScore:
    """Score one raw output against gold.

    ``text`` is the document (to distinguish a wrong value from a hallucinated one), ``raw`` the model's output,
    verbatim; ``finish_reason`` is ``stop``, ``length`` (cut off: always invalid) or ``error`` (nothing was generated).
    Never raises for any output. Raises ValueError if gold is not a JSON value.
    """
    gold = exact(gold)
    if finish_reason == "length":
        problem = ValueProblem("", "length", "the output was cut off before its end")
        return _invalid(compiled, gold, problem, None, False)
    if finish_reason == "error" or raw is None:
        return _invalid(compiled, gold, ValueProblem("", "error", "there is no output"), None, False)
    output, problems = compiled.check(raw)
    if problems and problems[0].rule == "json":
        return _invalid(compiled, gold, problems[0], None, False)
    if not isinstance(output, dict):
        return _invalid(compiled, gold, problems[0], output, True)
    leaves, free = _split_free_text(list(pair(compiled.root, gold, output)))
    scorer = FieldScorer(text, problems, leaves)
    extra = tuple(_unknown_field_errors(compiled.root, gold, output))
    fields = (*(scorer.score(leaf) for leaf in leaves), *extra)
    broken = invariants.check(compiled, output) if invariants.declared(compiled) else None
    right = all(field.outcome in (Outcome.CORRECT, Outcome.BOTH_ABSENT) for field in fields)
    return DocumentScore(
        valid_json=True,
        schema_valid=not problems,
        required_present=_complete(compiled, output, problems),
        no_extra_keys=all(outcome.error != "extra_key" for outcome in extra),
        exact=right and not problems,
        invariants_hold=None if broken is None else not broken,
        output=output,
        fields=fields,
        problems=(*problems, *(broken or ())),
        free=free,
    )
