"""The spelling of gold, learned from stretches of documents."""

import pytest

from training.ml.encoders.spelling import Spelling

COMMA, CAPITALS = "one blank after each comma", "upper case"


def pairs(count: int, text: str, gold: str) -> list[tuple[str, str]]:
    """Different values with the same difference of spelling."""
    return [(text.format(number), gold.format(number)) for number in range(count)]


def test_rules_are_chosen_by_what_they_gain_and_applied_in_order() -> None:
    both = pairs(20, "{0},road", "{0}, ROAD")  # no rule makes them equal by itself
    learned = Spelling.learn([*both, *pairs(10, "{0},HILL", "{0}, HILL")])
    assert learned == Spelling([COMMA, CAPITALS])
    assert learned.apply("7,  lane") == "7, LANE"


def test_a_rule_that_spoils_as_much_as_it_gains_is_not_chosen() -> None:
    assert not Spelling.learn([*pairs(20, "a,{0}", "a, {0}"), *pairs(20, "b,{0}", "b,{0}")]).rules


@pytest.mark.parametrize(("different", "rules"), [(1, []), (2, []), (3, [COMMA])])
def test_a_rule_gains_one_percent_of_the_values(different: int, rules: list[str]) -> None:
    same = pairs(300 - different, "Hill {0}", "Hill {0}")
    assert Spelling.learn([*same, *pairs(different, "Road,{0}", "Road, {0}")]).rules == rules


@pytest.mark.parametrize(("count", "rules"), [(19, []), (20, [CAPITALS])])
def test_few_values_choose_no_rule(count: int, rules: list[str]) -> None:
    assert Spelling.learn(pairs(count, "road {0}", "ROAD {0}")).rules == rules


def test_a_spelling_that_two_documents_agree_on_is_known() -> None:
    learned = Spelling.learn([("ACME Ltd", "Acme Ltd."), ("Acme LTD", "Acme Ltd."), ("Bolt Inc", "BOLT INC")])
    assert learned == Spelling([], {"acmeltd": "Acme Ltd."})
    assert learned.apply("acme ltd") == "Acme Ltd."
    assert learned.apply("bolt inc") == "bolt inc"  # seen once
    assert Spelling(**learned.state()) == learned


def test_a_known_spelling_is_more_frequent_than_those_that_the_rules_get_right() -> None:
    printed = [("Acme", "Acme")] * 2
    assert not Spelling.learn([*printed, *[("Acme", "ACME")] * 2]).known
    assert Spelling.learn([*printed, *[("Acme", "ACME")] * 3]).known == {"acme": "ACME"}


def test_gold_of_other_letters_teaches_no_spelling() -> None:
    assert Spelling.learn([("Acme", "Bolt")] * 30) == Spelling()
