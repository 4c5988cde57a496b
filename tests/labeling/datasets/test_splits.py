"""Splits: stable, seeded, near-identical texts together, a hold-out that stays."""

from collections import Counter

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


def test_marked_documents_are_the_only_holdout() -> None:
    found = draw(candidates(100, holdout=7))
    assert sorted(pk for pk, split in found.split.items() if split == HOLDOUT) == list(range(7))
    assert found.new_holdout == []


def test_near_duplicates_share_a_split() -> None:
    rows = []
    for number in range(60):
        for copy, text in enumerate((f"Invoice {number}", f"  INVOICE\n{number} ", f"Ｉnvoice {number}")):
            rows.append(Candidate(number * 10 + copy, text_key(text), False, "imported"))
    found = draw(rows).split
    for number in range(60):
        assert len({found[number * 10 + copy] for copy in range(3)}) == 1


def test_a_near_duplicate_of_a_fixed_holdout_is_left_out() -> None:
    rows = [*candidates(10, holdout=2), Candidate(99, text_key("DOCUMENT  1"), False, "imported")]
    found = draw(rows)
    assert found.near_duplicates == [99]
    assert 99 not in found.split
    assert found.split[1] == HOLDOUT


def test_holdout_prefers_real_documents() -> None:
    rows = candidates(900, origin="synthetic") + candidates(MIN_HOLDOUT, start=900, origin="human")
    assert set(draw(rows).new_holdout) == set(range(900, 900 + MIN_HOLDOUT))


def test_holdout_is_not_filled_with_synthetic_documents() -> None:
    rows = candidates(200, origin="synthetic") + candidates(50, origin="prelabelled", start=300)
    rows += candidates(3, start=200)
    assert set(draw(rows).new_holdout) == {200, 201, 202}


def test_holdout_without_human_labels() -> None:
    held = draw(candidates(100, origin="synthetic") + candidates(100, origin="prelabelled", start=100)).new_holdout
    assert len(held) == 40


def test_holdout_excludes_pre_labeled_documents() -> None:
    rows = [
        *candidates(40),
        *(Candidate(100 + n, text_key(f"held {n}"), True, origin) for n, origin in enumerate(ORIGINS)),
    ]
    found = draw(rows)
    assert sorted(pk for pk, split in found.split.items() if split == HOLDOUT) == [100, 102]
    assert found.not_by_humans == [101, 103]


def test_earlier_training_documents_are_not_in_the_holdout() -> None:
    rows = [Candidate(pk, text_key(f"document {pk}"), False, "human", used=pk < 90) for pk in range(100)]
    held = draw(rows, holdout=0.5).new_holdout
    assert held
    assert all(pk >= 90 for pk in held)


def test_small_sets_keep_training_documents() -> None:
    assert draw(candidates(1)).split == {0: TRAIN}
    assert Counter(draw(candidates(2)).split.values()) == {TRAIN: 1, HOLDOUT: 1}
    assert Counter(draw(candidates(3)).split.values()) == {TRAIN: 1, VALIDATION: 1, HOLDOUT: 1}


def test_no_shares_means_all_train() -> None:
    assert set(draw(candidates(50), validation=0, holdout=0).split.values()) == {TRAIN}
