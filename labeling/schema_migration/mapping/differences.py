"""The differences between two schemas, and a suggested mapping. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rapidfuzz import fuzz

from labeling.schema_migration.mapping.patterns import last_name, rows_of
from labeling.schema_migration.mapping.steps import Step
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import CompiledSchema, Node
from slmstudio.contract.schema.structure import split

#: minimum similarity (0 to 100) of the names of a renamed field
_MIN_SIMILARITY = 55


@dataclass(slots=True)
class Difference:
    """The differences between two schemas, by pattern; of added and removed objects only the top one.

    ``narrowed``: removed choices per field, as JSON texts.
    """

    removed: dict[str, Node] = field(default_factory=dict)
    added: dict[str, Node] = field(default_factory=dict)
    retyped: dict[str, tuple[Node, Node]] = field(default_factory=dict)
    narrowed: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.retyped or self.narrowed)


def difference(old: CompiledSchema, new: CompiledSchema) -> Difference:
    """The differences from the old schema to the new one."""
    result = Difference()
    _compare(old.root, new.root, result)
    result.added = {node.pattern: node for node in new.root.nodes() if node.pattern in result.added}
    return result


def _compare(old: Node, new: Node, result: Difference) -> None:
    if old.shape == new.shape == "object":
        for key in dict.fromkeys([*old.children, *new.children]):
            before, after = old.children.get(key), new.children.get(key)
            if after is None and before is not None:
                result.removed[before.pattern] = before
            elif before is None and after is not None:
                result.added[after.pattern] = after
            elif before is not None and after is not None:
                _compare(before, after, result)
        return
    if old.item is not None and new.item is not None:
        _compare(old.item, new.item, result)
        return
    if _type(old) != _type(new):
        result.retyped[new.pattern] = (old, new)
        return
    kept = _choices(new)
    gone = [code for code in _choices(old) if code not in kept] if kept else []
    if gone:
        result.narrowed[new.pattern] = gone


def _type(node: Node) -> str:
    return node.shape if node.field is None else node.field.type


def _choices(node: Node) -> list[str]:
    return [dumps(value) for value in node.field.enum] if node.field is not None else []


def suggest_mapping(old: CompiledSchema, new: CompiledSchema) -> list[Step]:
    """The most likely mapping, for the user to review."""
    differs = difference(old, new)
    steps: list[Step] = []
    free = dict(differs.added)
    lone = _single_moves(differs)
    for pattern, node in differs.removed.items():
        target = _similar_name(pattern, node, free) or lone.get(pattern, "")
        if target in free:
            steps.append({"do": "rename", "field": pattern, "to": target})
            del free[target]
        else:
            steps.append({"do": "drop", "field": pattern})
    steps.extend({"do": "convert", "field": pattern} for pattern in differs.retyped)
    for pattern, node in free.items():
        declared = node.schema.get("default", node.schema.get("const"))
        if declared is not None:
            steps.append({"do": "default", "field": pattern, "value": declared})
    return steps


def _similar_name(pattern: str, node: Node, free: Mapping[str, Node]) -> str:
    """The new field with the same rows and type and the most similar name; "" without one."""
    scores = {
        other: fuzz.WRatio(last_name(pattern), last_name(other))
        for other, there in free.items()
        if rows_of(other) == rows_of(pattern) and _type(there) == _type(node)
    }
    best = max(scores, key=lambda name: scores[name], default="")
    return best if best and scores[best] >= _MIN_SIMILARITY else ""


def _single_moves(differs: Difference) -> dict[str, str]:
    """Old field -> new field, if an object lost exactly one field of a kind and gained exactly one of that kind: most
    likely a renamed field (company, seller).
    """
    pairs: dict[Any, tuple[list[str], list[str]]] = {}
    for side, nodes in enumerate((differs.removed, differs.added)):
        for pattern, node in nodes.items():
            kind = node.shape if node.field is None else (node.field.type, node.field.kind, node.field.format)
            pairs.setdefault((split(pattern)[:-1], kind), ([], []))[side].append(pattern)
    return {gone[0]: came[0] for gone, came in pairs.values() if len(gone) == len(came) == 1}
