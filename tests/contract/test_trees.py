"""The edit distance of JSON trees: known cases and metric properties."""

from hypothesis import given, settings
from hypothesis import strategies as st

from slmstudio.contract.scoring.tree_edit_distance import Tree, distance, letters

_leaves = st.builds(Tree, st.text("ab", min_size=1, max_size=3), leaf=st.just(True))
_trees = st.recursive(
    _leaves,
    lambda inner: st.builds(Tree, st.sampled_from("xyz"), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
_roots = st.builds(Tree, st.just(""), st.lists(_trees, max_size=3).map(tuple))


def leaf(text: str) -> Tree:
    return Tree(text, leaf=True)


def test_known_cases() -> None:
    gold = Tree("", (Tree("total", (leaf("31.00"),)), Tree("company", (leaf("ABC"),))))
    assert letters(gold) == 1 + 1 + 5 + 1 + 3
    assert distance(gold, gold) == 0
    assert distance(gold, Tree("")) == 10
    assert distance(gold, Tree("", (Tree("total", (leaf("31.50"),)), Tree("company", (leaf("ABC"),))))) == 1
    assert distance(gold, Tree("", (Tree("company", (leaf("ABC"),)),))) == 6
    assert distance(Tree("", (leaf("a"),)), Tree("", (Tree("x"),))) == 2


def test_a_value_under_another_name_may_be_cheaper_to_rename() -> None:
    left = Tree("", (Tree("a", (leaf("x"),)), Tree("b", (leaf("yyyyyyyyyy"),))))
    right = Tree("", (Tree("a", (leaf("yyyyyyyyyy"),)), Tree("b", (leaf("x"),))))
    # Letter by letter it would be 20: the long one stays, the short one goes and comes again.
    assert distance(left, right) == 5


def naive(left: tuple[Tree, ...], right: tuple[Tree, ...]) -> int:
    """The distance of two rows of trees as it is defined, without a table."""
    if not left or not right:
        return sum(map(letters, left + right))
    one, other = left[-1], right[-1]
    remove = naive(left[:-1] + one.below, right) + one.alone
    insert = naive(left, right[:-1] + other.below) + other.alone
    return min(remove, insert, naive(left[:-1], right[:-1]) + naive(one.below, other.below) + rename(one, other))


def rename(one: Tree, other: Tree) -> int:
    return distance(Tree(one.name, leaf=one.leaf), Tree(other.name, leaf=other.leaf))


@given(_roots, _roots)
@settings(max_examples=60, deadline=None)
def test_distance_is_minimal(left: Tree, right: Tree) -> None:
    if letters(left) + letters(right) <= 14:
        assert distance(left, right) == naive((left,), (right,))


@given(_roots, _roots, _roots)
@settings(max_examples=60, deadline=None)
def test_it_is_a_distance(a: Tree, b: Tree, c: Tree) -> None:
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
