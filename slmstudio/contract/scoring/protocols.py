"""Public protocols for comparison with the literature: SROIE task 3, and CORD as Donut scores it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

from rapidfuzz.distance import Levenshtein

from slmstudio.contract.schema.dialect import is_number
from slmstudio.contract.scoring.summary import f1


@dataclass(frozen=True)
class Tree:
    """A node with its subtree; a leaf has a text."""

    name: str
    below: tuple["Tree", ...] = ()
    leaf: bool = False

    @cached_property
    def alone(self) -> int:
        """The cost of adding or removing this node alone."""
        return len(self.name) if self.leaf else 1


def letters(tree: Tree) -> int:
    """The cost of building a tree from nothing."""
    return tree.alone + sum(map(letters, tree.below))


def _rename(node: Tree, other: Tree) -> int:
    if node.leaf and other.leaf:
        return Levenshtein.distance(node.name, other.name)
    if node.leaf or other.leaf:
        return 1 + (node if node.leaf else other).alone
    return int(node.name != other.name)


def _without_equals(tree: Tree, other: Tree) -> tuple[Tree, Tree]:
    """Both without the branches that are equal at the start and at the end.

    Some cheapest mapping maps equal branches at an end of both to each other: a node mapped into one of them from
    elsewhere could be removed at no higher cost, by the triangle inequality, which these costs satisfy.
    """
    left, right = list(tree.below), list(other.below)
    while left and right and left[-1] == right[-1]:
        left.pop()
        right.pop()
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    return replace(tree, below=tuple(left[start:])), replace(other, below=tuple(right[start:]))


@dataclass
class _Ordered:
    """A tree in postorder: nodes, the leftmost leaf below each, and the roots whose subtrees have to be compared."""

    nodes: list[Tree] = field(default_factory=list)
    first: list[int] = field(default_factory=list)

    def add(self, tree: Tree) -> int:
        """Adds a tree and returns the index of its leftmost leaf."""
        firsts = [self.add(child) for child in tree.below]
        self.nodes.append(tree)
        self.first.append(firsts[0] if firsts else len(self.nodes) - 1)
        return self.first[-1]

    @property
    def roots(self) -> list[int]:
        return sorted({first: place for place, first in enumerate(self.first)}.values())

    @property
    def work(self) -> int:
        return sum(root - self.first[root] + 1 for root in self.roots)


def _ordered(tree: Tree) -> _Ordered:
    ordered = _Ordered()
    ordered.add(tree)
    return ordered


def cells_needed(tree: Tree, other: Tree) -> int:
    """The approximate number of steps of ``distance``; a million take a second."""
    tree, other = _without_equals(tree, other)
    return _ordered(tree).work * _ordered(other).work


def distance(tree: Tree, other: Tree) -> int:
    """The cost of the cheapest edit from one tree to the other; their depth is that of JSON values."""
    left, right = map(_ordered, _without_equals(tree, other))
    trees = [[0] * len(right.nodes) for _ in left.nodes]
    for i in left.roots:
        for j in right.roots:
            _compare(left, right, i, j, trees)
    return trees[-1][-1]


def _compare(left: _Ordered, right: _Ordered, i: int, j: int, trees: list[list[int]]) -> None:
    """Fills in the distances of the subtrees on the leftmost paths below two roots."""
    a, b = left.first[i], right.first[j]
    gained = [0]
    for node in right.nodes[b : j + 1]:
        gained.append(gained[-1] + node.alone)
    forest = [gained]
    for x in range(a, i + 1):
        node, first, row, above = left.nodes[x], left.first[x], trees[x], forest[-1]
        here = [above[0] + node.alone]
        for y in range(b, j + 1):
            other = right.nodes[y]
            best = min(above[y - b + 1] + node.alone, here[-1] + other.alone)
            if first == a and right.first[y] == b:
                best = min(best, above[y - b] + _rename(node, other))
                row[y] = best
            else:
                best = min(best, forest[first - a][right.first[y] - b] + row[y])
            here.append(best)
        forest.append(here)


SROIE_FIELDS = ("company", "date", "address", "total")
#: beyond this estimated work (a few seconds) CORD's tree score is left out
MAX_WORK = 2_000_000

Pairs = Iterable[tuple[Any, Any]]


def sroie(
    pairs: Iterable[tuple[dict[str, Any], dict[str, Any] | None]], fields: Sequence[str] = SROIE_FIELDS
) -> dict[str, Any]:
    """Entity precision, recall and F1 as in SROIE task 3 (Huang et al., ICDAR 2019): pairs of (gold, output).

    An entity is correct if the two strings are equal, byte for byte. Precision is over non-empty output entities,
    recall over gold entities, summed over all documents and fields. An invalid output (None) lowers recall only.

    Pitfalls when comparing with published results: the text of the leaderboard is partly cleaned of OCR errors, so
    results from raw OCR text are lower; some papers normalize blanks and case first; some leave out receipts without an
    address; values that are not strings (12.5) never equal a gold string, convert them to text first.
    """
    correct = given = wanted = 0
    per_field: dict[str, Counter[str]] = {name: Counter() for name in fields}
    for gold, output in pairs:
        for name in fields:
            target = gold.get(name)
            value = output.get(name) if isinstance(output, dict) else None
            counts = per_field[name]
            counts["wanted"] += target not in (None, "")
            counts["given"] += value not in (None, "")
            counts["correct"] += target not in (None, "") and isinstance(value, str) and value == target
    for counts in per_field.values():
        correct, given, wanted = correct + counts["correct"], given + counts["given"], wanted + counts["wanted"]
    return {
        **f1(correct, given, wanted),
        "correct": correct,
        "given": given,
        "wanted": wanted,
        "per_field": {name: f1(c["correct"], c["given"], c["wanted"]) for name, c in per_field.items()},
    }


def _prepared(value: Any) -> Any:
    """A value as Donut prepares it: empty values (0 and false too) are dropped, a scalar becomes a list of one stripped
    text, names are sorted by length. A list that is not all objects keeps its texts and numbers.
    """
    if not value:
        return {}
    if isinstance(value, dict):
        inner = {name: _prepared(value[name]) for name in sorted(value, key=lambda name: (len(name), name))}
        return {name: item if isinstance(item, list) else [item] for name, item in inner.items() if item}
    if isinstance(value, list):
        if all(isinstance(item, dict) for item in value):
            return [item for item in map(_prepared, value) if item]
        scalars = (item for item in value if isinstance(item, str) or is_number(item))
        return [text for text in map(_text, scalars) if text]
    return [_text(value)]


def _text(value: Any) -> str:
    """The text of a value as ``json.loads`` and Python print it: 12.50 is the float 12.5."""
    return str(float(value) if isinstance(value, Decimal) else value).strip()


def _flat(prepared: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(prepared, dict):
        return [pair for name, item in prepared.items() for pair in _flat(item, f"{path}.{name}" if path else name)]
    if isinstance(prepared, list):
        return [pair for item in prepared for pair in _flat(item, path)]
    return [(path, prepared)]


def _tree(prepared: Any, name: str = "") -> Tree:
    if isinstance(prepared, dict):
        return Tree(name, tuple(_tree(item, key) for key, item in prepared.items()))
    if all(isinstance(item, dict) for item in prepared):
        return Tree(name, tuple(_tree(item) for item in prepared))
    return Tree(name, tuple(Tree(text, leaf=True) for text in prepared))


def cord(pairs: Pairs, max_work: int = MAX_WORK) -> dict[str, Any]:
    """CORD as Donut scores it (Kim et al., ECCV 2022, ``JSONParseEvaluator``): pairs of (gold, output).

    An output that is not an object (None, if invalid) is an empty answer.

    ``f1``: every leaf is a (path, text) pair, rows lose their number, and the two bags of pairs of each document are
    compared; summed over documents. ``tree``: mean over documents of max(0, 1 - nTED), where nTED is the edit distance
    of the two trees (a letter costs 1, an inner node 1) divided by the size of gold's; None if it would take seconds.

    Pitfalls: because rows lose their number, a price on the wrong line counts as correct in F1. 0 and false count as
    empty and are ignored. Numbers are compared as Python's floats, so 12.50 is 12.5, but "12.50" is not.
    """
    correct = given = wanted = work = 0
    trees: list[float] = []
    for gold, output in pairs:
        left, right = _prepared(gold), _prepared(output if isinstance(output, dict) else None)
        expected, actual = Counter(_flat(left)), Counter(_flat(right))
        correct += (expected & actual).total()
        given += actual.total()
        wanted += expected.total()
        if work <= max_work:
            truth, answer = _tree(left), _tree(right)
            work += cells_needed(truth, answer)
            if work <= max_work:
                trees.append(_similarity(truth, answer))
    mean = sum(trees) / len(trees) if trees and work <= max_work else None
    return {**f1(correct, given, wanted), "correct": correct, "given": given, "wanted": wanted, "tree": mean}


def _similarity(gold: Tree, output: Tree) -> float:
    apart = distance(gold, output)
    size = letters(gold) - 1  # all but the root, which an empty answer has too
    return max(0.0, 1 - apart / size) if size else float(not apart)
