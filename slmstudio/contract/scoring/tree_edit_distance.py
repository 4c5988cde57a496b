"""The edit distance of two ordered trees (Zhang and Shasha 1989), with the costs that Donut uses for JSON.

Adding or removing an inner node costs 1, a leaf its letters; renaming an inner node 1, a leaf the Levenshtein distance
of its texts; turning one into the other 1 plus the letters of the leaf.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

from rapidfuzz.distance import Levenshtein


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


def _rename(one: Tree, other: Tree) -> int:
    if one.leaf and other.leaf:
        return Levenshtein.distance(one.name, other.name)
    if one.leaf or other.leaf:
        return 1 + (one if one.leaf else other).alone
    return int(one.name != other.name)


def _without_equals(one: Tree, other: Tree) -> tuple[Tree, Tree]:
    """Both without the branches that are equal at the start and at the end.

    Some cheapest mapping maps equal branches at an end of both to each other: a node mapped into one of them from
    elsewhere could be removed at no higher cost, by the triangle inequality, which these costs satisfy.
    """
    left, right = list(one.below), list(other.below)
    while left and right and left[-1] == right[-1]:
        left.pop()
        right.pop()
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    return replace(one, below=tuple(left[start:])), replace(other, below=tuple(right[start:]))


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
    found = _Ordered()
    found.add(tree)
    return found


def cells_needed(one: Tree, other: Tree) -> int:
    """The approximate number of steps of ``distance``; a million take a second."""
    one, other = _without_equals(one, other)
    return _ordered(one).work * _ordered(other).work


def distance(one: Tree, other: Tree) -> int:
    """The cost of the cheapest edit from one tree to the other; their depth is that of JSON values."""
    left, right = map(_ordered, _without_equals(one, other))
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
