"""Splits: stable, seeded, near-identical texts together, a hold-out that stays."""

from collections import Counter

import pytest

from labeling.datasets.freeze_candidates import Preview
from labeling.datasets.splits import (
    HOLDOUT,
    MIN_HOLDOUT,
    TRAIN,
    VALIDATION,
    Candidate,
    SplitAssignment,
    assign_splits,
    text_key,
)


def candidates(count: int, *, origin: str = "imported", start: int = 0, holdout: int = 0) -> list[Candidate]:
    return [
        Candidate(pk, text_key(f"document {pk}"), pk - start < holdout, origin) for pk in range(start, start + count)
    ]


ORIGINS = ("human", "prelabelled", "imported", "synthetic")


def draw(rows: list[Candidate], seed: int = 17, validation: float = 0.1, holdout: float = 0.2) -> SplitAssignment:
    return assign_splits(rows, seed=seed, validation_share=validation, holdout_share=holdout)


def test_shares_match_the_settings() -> None:
    counts = Counter(draw(candidates(1000)).split.values())
    assert counts[HOLDOUT] == 200
    assert 50 <= counts[VALIDATION] <= 115
    assert sum(counts.values()) == 1000


def test_split_depends_on_the_seed() -> None:
    rows = candidates(200)
    assert draw(rows) == draw(list(reversed(rows)))
    assert draw(rows).split != draw(rows, seed=18).split


def test_splits_are_stable_while_a_project_grows() -> None:
    first = draw(candidates(300, holdout=40))
    later = draw(candidates(300, holdout=40) + candidates(300, start=300))
    assert {pk: later.split[pk] for pk in first.split} == first.split


def test_near_duplicates_of_a_fixed_holdout_and_its_pre_labeled_documents_are_left_out() -> None:
    rows = [*candidates(10, holdout=2), Candidate(99, text_key("DOCUMENT  1"), False, "imported")]
    assignment = draw(rows)
    assert assignment.excluded == {99: "near_duplicate_of_holdout"}
    assert 99 not in assignment.split
    assert assignment.split[1] == HOLDOUT
    held = [Candidate(100 + n, text_key(f"held {n}"), True, origin) for n, origin in enumerate(ORIGINS)]
    assignment = draw([*candidates(40), *held])
    assert sorted(pk for pk, split in assignment.split.items() if split == HOLDOUT) == [100, 102]
    assert assignment.excluded == dict.fromkeys((101, 103), "holdout_not_by_people")


def test_holdout_prefers_real_documents_labeled_by_people() -> None:
    rows = candidates(900, origin="synthetic") + candidates(MIN_HOLDOUT, start=900, origin="human")
    assert set(draw(rows).new_holdout) == set(range(900, 900 + MIN_HOLDOUT))
    rows = candidates(200, origin="synthetic") + candidates(50, origin="prelabelled", start=300)
    rows += candidates(3, start=200)
    assert set(draw(rows).new_holdout) == {200, 201, 202}, "few by people are not filled up"
    held = draw(candidates(100, origin="synthetic") + candidates(100, origin="prelabelled", start=100)).new_holdout
    assert len(held) == 40, "without any by people"


def test_small_sets_keep_training_documents() -> None:
    assert draw(candidates(1)).split == {0: TRAIN}
    assert Counter(draw(candidates(2)).split.values()) == {TRAIN: 1, HOLDOUT: 1}
    assert Counter(draw(candidates(3)).split.values()) == {TRAIN: 1, VALIDATION: 1, HOLDOUT: 1}


def supplied(sizes: dict[str, int], *, used: int = 0, holdout: int = 0) -> list[Candidate]:
    """Documents of suppliers; the first ones of each are in training or in the hold-out already."""
    rows: list[Candidate] = []
    for supplier, size in sizes.items():
        for number in range(size):
            key = text_key(f"{supplier} {number}")
            held = used <= number < used + holdout
            rows.append(Candidate(len(rows), key, held, "imported", used=number < used, group=supplier))
    return rows


SUPPLIERS = {"acme": 60, **{f"supplier {number}": 2 for number in range(70)}}


def of_acme(assignment: SplitAssignment) -> Counter[str]:
    return Counter(assignment.split[pk] for pk in range(SUPPLIERS["acme"]))


def assign(rows: list[Candidate], large_families: str) -> SplitAssignment:
    return assign_splits(rows, seed=17, validation_share=0.1, holdout_share=0.2, large_families=large_families)


def test_a_family_is_stored_under_its_oldest_member() -> None:
    assignment = draw(supplied({"acme": 3, "globex": 1}) + candidates(30, start=10))
    assert [assignment.family[pk] for pk in (0, 1, 2, 3, 10)] == [0, 0, 0, 3, 10]


def test_a_large_family_stays_in_training_or_is_held_out_whole() -> None:
    assert of_acme(draw(supplied(SUPPLIERS)))[HOLDOUT] == 0
    whole = assign(supplied(SUPPLIERS), "whole")
    assert of_acme(whole) == {HOLDOUT: 60}
    assert 20 <= Counter(whole.split.values())[HOLDOUT] - 60 <= 36


def test_a_large_family_is_spread_and_small_ones_are_not() -> None:
    rows = supplied(SUPPLIERS)
    assignment = assign(rows, "spread")
    assert of_acme(assignment)[HOLDOUT] > 0 < of_acme(assignment)[TRAIN]
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row.group, set()).add(assignment.split[row.pk])
    assert [name for name, splits in sides.items() if len(splits) > 1] == ["acme"]
    assert {assignment.family[pk] for pk in range(60)} == {0}


def test_a_spread_family_stays_spread_when_it_is_large_no_more() -> None:
    rows = supplied({"acme": 10}, used=4, holdout=2) + candidates(200, start=100)
    assignment = assign(rows, "spread")
    assert (assignment.excluded, sum(assignment.split[pk] == HOLDOUT for pk in range(10))) == ({}, 2)
    assert Counter(draw(rows).excluded.values()) == {"related_to_holdout": 8}


@pytest.mark.parametrize(
    ("origins", "held_out", "few"),
    [
        ({"human": 3, "prelabelled": 47}, 0, 3),
        ({"human": 3, "prelabelled": 47}, 3, 0),
        ({"human": 20, "prelabelled": 47}, 0, 0),
        ({"human": 3}, 0, 0),
        ({"prelabelled": 47}, 0, 0),
    ],
)
def test_a_holdout_that_confirmed_prelabels_leave_small(origins: dict[str, int], held_out: int, few: int) -> None:
    assert Preview(documents=sum(origins.values()), held_out=held_out, origins=origins).few_by_people == few
