"""The public protocols: SROIE task 3 and CORD-style F1."""

from decimal import Decimal
from typing import Any

import pytest

from slmstudio.contract.scoring.protocols import Tree, distance, letters
from slmstudio.contract.scoring.scorer import cord, sroie

GOLD = {"company": "ABC", "date": "09/01/2019", "address": "NO 2", "total": "31.00"}


def test_sroie_pools_entities() -> None:
    pairs: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
        (GOLD, dict(GOLD)),
        (GOLD, {"company": "abc", "date": "09/01/2019", "address": "", "total": None}),
        ({**GOLD, "address": None}, {"address": "NO 2"}),
        (GOLD, None),
    ]
    result = sroie(pairs)
    assert (result["correct"], result["given"], result["wanted"]) == (5, 7, 15)
    assert result["precision"] == 5 / 7
    assert result["recall"] == 5 / 15
    assert result["f1"] == 10 / 22
    assert result["per_field"]["address"] == {"precision": 0.5, "recall": 1 / 3, "f1": 0.4}


def test_sroie_is_byte_for_byte() -> None:
    assert sroie([(GOLD, {**GOLD, "company": "ABC "})])["correct"] == 3
    assert sroie([(GOLD, {**GOLD, "total": 31})])["correct"] == 3


def test_sroie_of_nothing_is_none() -> None:
    assert sroie([])["f1"] is None


def test_cord_compares_bags_of_leaves() -> None:
    gold = {"menu": [{"nm": "tea", "price": "3"}, {"nm": "cake", "price": "5"}], "total": "8"}
    output = {"menu": [{"nm": "cake", "price": "3"}, {"nm": "tea"}], "total": "9"}
    result = cord([(gold, output)])
    assert (result["correct"], result["given"], result["wanted"]) == (3, 4, 5)
    assert result["f1"] == 6 / 9
    assert cord([(gold, gold)])["f1"] == 1.0
    assert cord([(gold, None)])["f1"] == 0.0


def test_cord_tree_edit_distance() -> None:
    gold = {"menu": [{"nm": "tea", "price": "3"}], "total": "8"}
    # menu, row, nm, tea, price, 3, total, 8: 5 names and 5 letters
    assert cord([(gold, gold)])["tree"] == 1.0
    assert cord([(gold, None)])["tree"] == 0.0
    assert cord([(gold, {**gold, "total": "9"})])["tree"] == pytest.approx(1 - 1 / 10)
    assert cord([(gold, {"menu": gold["menu"]})])["tree"] == pytest.approx(1 - 2 / 10)
    assert cord([(gold, gold), (gold, None)])["tree"] == 0.5
    assert cord([(gold, None)], max_work=1)["tree"] is None
    assert cord([])["tree"] is None


def test_cord_values_are_python_strings() -> None:
    gold = {"a": Decimal("12.50"), "b": 0, "c": None, "d": "", "e": True, "f": ["x ", 1, True, None]}
    for output in ({"a": Decimal("12.5"), "e": True, "f": ["x", 1]}, {"f": ["x", "1"], "e": "True", "a": "12.5"}):
        result = cord([(gold, output)])
        assert (result["correct"], result["given"], result["wanted"], result["tree"]) == (4, 4, 4, 1.0)
    assert cord([(gold, [gold])])["f1"] == 0.0


# -- the edit distance of JSON trees: known cases and metric properties --


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
