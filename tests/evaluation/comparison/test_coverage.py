"""The automation rate: the largest share that is proven, and how often it is claimed wrongly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.approvals.automation import automation, document_confidence
from evaluation.stats import exact_upper

SURE_AND_RIGHT = [(0.99 - index / 1000, True) for index in range(200)]
UNSURE_AND_WRONG = [(0.5 - index / 1000, index % 2 == 0) for index in range(200)]


def test_the_sure_half_goes_through_and_the_unsure_one_does_not() -> None:
    rate = automation([*UNSURE_AND_WRONG, *SURE_AND_RIGHT], 0.05)
    assert rate.best is not None
    assert (rate.best.documents, rate.best.wrong, rate.best.share) == (200, 0, 0.5)
    assert rate.best.threshold == pytest.approx(0.791)
    assert rate.best.bound == exact_upper(0, 200, 1 - 0.05 / 10)
    assert [step.holds for step in rate.steps] == [False, False, True, True, True, *[False] * 5]


def test_few_unreadable_and_equally_sure_documents() -> None:
    few = automation(SURE_AND_RIGHT[:50], 0.05)
    assert (few.best, few.documents) == (None, 50), "they prove nothing"
    unreadable = automation([*SURE_AND_RIGHT, *[(0.0, False)] * 200], 0.05)
    assert unreadable.best is not None
    assert (unreadable.best.documents, unreadable.best.share) == (200, 0.5), "never let through, and counted"
    equal = automation([(0.9, True)] * 100 + [(0.5, True)] * 100, 0.1)
    assert {step.documents for step in equal.steps} == {100, 200}
    assert automation([], 0.05).best is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        automation(SURE_AND_RIGHT, 0.0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60), st.sampled_from([0.05, 0.3, 0.6]))
def test_every_step_counts_what_it_says(rows: list[tuple[float, bool]], limit: float) -> None:
    for step in automation(rows, limit).steps:
        through = [right for confidence, right in rows if confidence > 0 and confidence >= step.threshold]
        assert (step.documents, step.wrong) == (len(through), through.count(False))
        assert step.holds == (step.bound <= limit)


def test_a_share_that_is_too_often_wrong_is_let_through_at_most_one_time_in_twenty() -> None:
    """The confidence says nothing, and exactly the limit is wrong of every share."""
    rng = np.random.default_rng(3)
    claimed = 0
    for _ in range(150):
        rows = zip(rng.random(300).tolist(), (rng.random(300) >= 0.1).tolist(), strict=True)
        claimed += automation(rows, 0.1).best is not None
    assert claimed / 150 <= 0.05 + 2 * (0.05 * 0.95 / 150) ** 0.5


def test_a_document_is_as_sure_as_its_least_sure_field() -> None:
    assert document_confidence({"a": [0.9, 0.99], "b": (0.7, 0.8)}) == 0.7
    assert document_confidence({"a": 0.4}) == 0.4
    assert document_confidence({}) == document_confidence(None) == 0.0


def test_whole_families_prove_less_than_their_documents() -> None:
    families = [index // 10 for index in range(400)]
    rows = [*SURE_AND_RIGHT, *SURE_AND_RIGHT]
    assert automation(rows, 0.05).best is not None
    assert automation(rows, 0.05, families=families).best is None
    assert automation(rows, 0.05, families=list(range(400))) == automation(rows, 0.05)
