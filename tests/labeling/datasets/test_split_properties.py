"""Whatever the documents and the rules: every document goes one way, and what belongs together goes the same way."""

from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.datasets.splits import (
    HOLDOUT,
    HUMAN_ORIGINS,
    ORDER,
    TRAIN,
    Candidate,
    assign_splits,
    text_key,
)

ORIGINS = ("human", "imported", "prelabelled", "synthetic")


def candidate(pk: int, *, text: int, **more: Any) -> Candidate:
    return Candidate(pk, text_key(f"text {text}"), **more)


ROWS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "text": st.integers(0, 40),
        "holdout": st.booleans() | st.just(False),
        "origin": st.sampled_from(ORIGINS),
        "used": st.booleans(),
        "duplicate_group": st.none() | st.integers(0, 30),
        "group": st.sampled_from(["", "", "acme", "globex", "initech"]),
        "strata": st.lists(st.sampled_from(["a", "b", "rare"]), max_size=2, unique=True).map(tuple),
        "included": st.booleans() | st.just(True),
    }
)
documents = st.lists(ROWS, max_size=60).map(lambda rows: [candidate(pk, **row) for pk, row in enumerate(rows)])
knobs = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**31 - 1),
        "validation_share": st.floats(0, 0.5),
        "holdout_share": st.floats(0, 0.9),
        "most": st.none() | st.integers(2, 60),
    }
)


def partners(rows: list[Candidate]) -> dict[object, list[Candidate]]:
    """Documents by what ties them together: their text, their group of near-duplicates, their family."""
    tied: dict[object, list[Candidate]] = defaultdict(list)
    for row in rows:
        tied["text", row.key].append(row)
        if row.duplicate_group is not None:
            tied["alike", row.duplicate_group].append(row)
        if row.group:
            tied["family", row.group].append(row)
    return tied


@settings(max_examples=60, deadline=None)
@given(rows=documents, knobs=knobs)
def test_laws_of_an_assignment(rows: list[Candidate], knobs: dict[str, Any]) -> None:
    """Every document has one split or one reason; groups are never split; the hold-out stays, and a hold-out labeled
    by people has no other documents."""
    assignment = assign_splits(rows, **knobs)
    assert assignment == assign_splits(list(reversed(rows)), **knobs)
    assert sorted([*assignment.split, *assignment.excluded]) == [row.pk for row in rows]
    assert set(assignment.split.values()) <= set(ORDER)
    for members in partners(rows).values():
        sides = {assignment.split[member.pk] for member in members if member.pk in assignment.split}
        assert len(sides) <= 1, members
    held = {row.pk for row in rows if row.holdout}
    judged = {pk for pk, split in assignment.split.items() if split == HOLDOUT}
    if held:
        assert judged | {pk for pk, why in assignment.excluded.items() if why == "holdout_not_by_people"} == held
        assert assignment.new_holdout == []
    else:
        assert judged == set(assignment.new_holdout)
        assert not any(row.used for row in rows if row.pk in judged)
    if any(row.holdout and row.origin in HUMAN_ORIGINS for row in rows):
        assert {row.origin for row in rows if row.pk in judged} <= HUMAN_ORIGINS


def test_pre_labeled_duplicate_never_enters_the_holdout() -> None:
    rows = [
        Candidate(0, b"a", False, "human", True, None, "", (), True),
        Candidate(1, b"b", False, "human", False, None, "", (), True),
        Candidate(2, b"b", False, "prelabelled", False, None, "", (), True),
    ]
    assignment = assign_splits(rows, seed=0, validation_share=0, holdout_share=0.5)
    assert assignment.new_holdout == [1]
    assert assignment.excluded == {2: "holdout_not_by_people"}


@settings(max_examples=50, deadline=None)
@given(rows=documents, knobs=knobs)
def test_second_freeze_keeps_the_holdout(rows: list[Candidate], knobs: dict[str, Any]) -> None:
    first = assign_splits(rows, **knobs)
    marked = [
        Candidate(
            row.pk, row.key, row.holdout or row.pk in first.new_holdout, row.origin, True,
            row.duplicate_group, row.group, row.strata, row.included,
        )
        for row in rows
    ]  # fmt: skip
    second = assign_splits(marked, **{**knobs, "seed": 1})
    before = {pk for pk, split in first.split.items() if split == HOLDOUT}
    assert {pk for pk, split in second.split.items() if split == HOLDOUT} == before


@settings(max_examples=50, deadline=None)
@given(count=st.integers(30, 200), rare=st.integers(2, 8), seed=st.integers(0, 1000))
def test_rare_class_is_in_every_split(count: int, rare: int, seed: int) -> None:
    rows = [
        Candidate(pk, text_key(f"text {pk}"), False, "human", strata=("rare",) if pk < rare else ("common",))
        for pk in range(count)
    ]
    assignment = assign_splits(rows, seed=seed, validation_share=0.1, holdout_share=0.2)
    rare_sides = [assignment.split[pk] for pk in range(rare)]
    assert HOLDOUT in rare_sides
    assert TRAIN in rare_sides
