"""Pair gold and output: every leaf of the schema with its two values, the rows of lists paired first."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.schema.structure import Field, Node, join
from slmstudio.contract.scoring.alignment import align_rows, merged_rows
from slmstudio.contract.values.kinds.values import normalize


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field of one document, not scored yet.

    ``path`` is its path in gold, ``output_path`` its path in the output. ``why`` is the error of the rows or the object
    around it: "row" for a row that was split or merged, "format" for an object or a list that is neither.
    """

    path: str
    field: Field
    gold: Any
    output: Any
    output_path: str
    why: str = ""


def get(value: Any, name: str) -> Any:
    """A value of an object; None if there is no such field, or no object."""
    return value.get(name) if isinstance(value, dict) else None


def cells(node: Node, value: Any) -> tuple[Hashable, ...]:
    """The normalized leaves of one row, a nested list as one cell."""
    if node.field is not None:
        return (normalize(value, node.field),)
    if node.item is not None:
        return (tuple(cells(node.item, item) for item in value) if isinstance(value, list) else None,)
    return tuple(cell for name, child in node.children.items() for cell in cells(child, get(value, name)))


def pair(node: Node, gold: Any, output: Any, path: str = "", out: str = "", why: str = "") -> Iterator[Leaf]:
    """Every leaf at and below a place of the schema."""
    if node.field is not None:
        yield Leaf(path, node.field, gold, output, out, why)
    elif node.item is not None:
        if output is not None and not isinstance(output, list):
            why = "format"
        yield from _rows(node, gold, output, path, out, why)
    else:
        if output is not None and not isinstance(output, dict):
            why = "format"
        for name, child in node.children.items():
            here = join(path, name)
            there = here if out == path else join(out, name)
            yield from pair(child, get(gold, name), get(output, name), here, there, why)


def _rows(node: Node, gold: Any, output: Any, path: str, out: str, why: str) -> Iterator[Leaf]:
    item = node.item
    assert item is not None
    gold_rows = gold if isinstance(gold, list) else []
    output_rows = output if isinstance(output, list) else []
    gold_cells = [cells(item, row) for row in gold_rows]
    output_cells = [cells(item, row) for row in output_rows]
    pairs = align_rows(gold_cells, output_cells, ordered=node.ordered)
    torn = merged_rows(gold_cells, output_cells, pairs)
    for index, (left, right) in enumerate(pairs):
        yield from pair(
            item,
            None if left is None else gold_rows[left],
            None if right is None else output_rows[right],
            f"{path}[{index}]",
            f"{out}[{right}]",
            "row" if index in torn else why,
        )
