"""Tokens guessed from the prompt and from other answers."""

import numpy as np
import pytest

from training.ml.decoding import speculation
from training.ml.decoding.speculation import Speculator

NOTHING = np.array([], dtype=np.int64)


def test_nothing_is_guessed_from_nothing() -> None:
    assert Speculator().propose(NOTHING, [], 8) == []
    assert Speculator().propose(np.array([1, 2, 3]), [9], 8) == []


def test_an_answer_begins_as_the_others_did() -> None:
    foresight = Speculator([[1, 2, 3, 40], [1, 2, 3, 50]])
    assert foresight.propose(NOTHING, [], 3) == [1, 2, 3]


def test_what_followed_in_the_prompt_is_copied_up_to_the_most() -> None:
    prompt = np.array([5, 6, 7, 8, 9, 10])
    assert Speculator().propose(prompt, [6, 7], 2) == [8, 9]
    assert Speculator().propose(prompt, [6, 7], 8) == [8, 9, 10]


def test_a_place_that_agrees_further_back_is_heard_above_many_that_do_not() -> None:
    foresight = Speculator([[3, 4, 70]] * 5)
    assert foresight.propose(np.array([1, 2, 3, 4, 80]), [1, 2, 3, 4], 1) == [80]
    assert foresight.propose(np.array([1, 2, 9, 4, 80]), [1, 2, 3, 4], 1) == [70]


def test_guessing_ends_where_the_votes_are_divided() -> None:
    foresight = Speculator([[1, 2, after, after] for after in range(10, 60)])
    assert foresight.propose(NOTHING, [1], 8) == [2]


def test_what_was_written_is_learned_and_an_answer_runs_into_no_other() -> None:
    foresight = Speculator()
    foresight.add([1, 2, 3], [7, 8])
    assert foresight.propose(NOTHING, [1], 8) == [2, 3]


def test_the_answer_itself_repeats() -> None:
    assert Speculator().propose(NOTHING, [1, 2, 3, 1, 2], 2) == [3, 1]


def test_the_oldest_answers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "MAX_STORED_TOKENS", 6)
    foresight = Speculator([[1, 2], [3, 4], [5, 6]])
    assert foresight.propose(NOTHING, [1], 1) == []
    assert foresight.propose(NOTHING, [5], 1) == [6]
