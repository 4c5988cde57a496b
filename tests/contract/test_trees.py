"""The edit distance of JSON trees: known cases and metric properties."""

from slmstudio.contract.scoring.protocols import Tree, distance, letters


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
