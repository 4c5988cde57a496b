"""What gold says in some of its fields, so that golds of two schemas can be held against each other. Pure."""

from collections.abc import Hashable
from typing import Any

from slmstudio.contract.schema.dialect import identity
from slmstudio.contract.schema.structure import Node
from slmstudio.contract.scoring.pairing import get


def gold_subset(node: Node, gold: Any, shared: frozenset[str]) -> Hashable:
    """What gold says in the fields of ``shared`` (patterns), equal under two schemas where it is the same; None where
    it says nothing.

    As in scoring, a missing name, null and a list without rows are the same absence, names have no order, and numbers
    count by value. A row that says nothing in these fields is no row.
    """
    if node.field is not None:
        if gold is None or node.field.pattern not in shared:
            return None
        value: Hashable = identity(gold)
        return value
    if node.item is not None:
        rows = [gold_subset(node.item, row, shared) for row in gold] if isinstance(gold, list) else []
        return tuple(row for row in rows if row is not None) or None
    parts = [(name, gold_subset(child, get(gold, name), shared)) for name, child in node.children.items()]
    return frozenset((name, part) for name, part in parts if part is not None) or None
