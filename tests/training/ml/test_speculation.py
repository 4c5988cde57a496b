"""Speculative tokens from the prompt and from other outputs."""

import numpy as np
import pytest

from training.ml.decoding import speculation
from training.ml.decoding.speculation import Speculator

NOTHING = np.array([], dtype=np.int64)


def test_draft_begins_like_earlier_outputs() -> None:
    assert Speculator().propose(NOTHING, [], 8) == []
    assert Speculator().propose(np.array([1, 2, 3]), [9], 8) == []
    foresight = Speculator([[1, 2, 3, 40], [1, 2, 3, 50]])
    assert foresight.propose(NOTHING, [], 3) == [1, 2, 3]


def test_draft_copies_the_prompt_up_to_its_limit() -> None:
    prompt = np.array([5, 6, 7, 8, 9, 10])
    assert Speculator().propose(prompt, [6, 7], 2) == [8, 9]
    assert Speculator().propose(prompt, [6, 7], 8) == [8, 9, 10]


def test_longer_match_outweighs_many_shorter_ones() -> None:
    foresight = Speculator([[3, 4, 70]] * 5)
    assert foresight.propose(np.array([1, 2, 3, 4, 80]), [1, 2, 3, 4], 1) == [80]
    assert foresight.propose(np.array([1, 2, 9, 4, 80]), [1, 2, 3, 4], 1) == [70]


def test_draft_ends_at_a_split_vote() -> None:
    foresight = Speculator([[1, 2, after, after] for after in range(10, 60)])
    assert foresight.propose(NOTHING, [1], 8) == [2]


def test_written_outputs_and_the_current_one_are_matched() -> None:
    foresight = Speculator()
    foresight.add([1, 2, 3], [7, 8])
    assert foresight.propose(NOTHING, [1], 8) == [2, 3]
    assert Speculator().propose(NOTHING, [1, 2, 3, 1, 2], 2) == [3, 1]


def test_oldest_outputs_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "MAX_STORED_TOKENS", 6)
    foresight = Speculator([[1, 2], [3, 4], [5, 6]])
    assert foresight.propose(NOTHING, [1], 1) == []
    assert foresight.propose(NOTHING, [5], 1) == [6]
