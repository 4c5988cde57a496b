"""Near-duplicates: scans of one receipt are found, forms with other content are not, and memory stays small."""

import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.datasets.near_duplicates import SHORT_SKETCH, MinHashIndex, group, normal_form

#: receipts of the SROIE set that were scanned twice, seen by reading them
SCANNED_TWICE = 7


def words(seed: int, count: int = 200) -> str:
    drawn = random.Random(seed)
    return " ".join("".join(drawn.choices("abcdefghijklmnop", k=drawn.randint(3, 9))) for _ in range(count))


def exact(one: str, other: str) -> float:
    a, b = ({text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in map(normal_form, (one, other)))
    return len(a & b) / len(a | b)


def test_texts_that_differ_in_case_and_spacing_are_the_same() -> None:
    found = group(["Total  1,248.50", "TOTAL\n1,248.50", "another one altogether"])
    assert found.group == [0, 0, 2]
    assert [(pair.first, pair.second, pair.similarity) for pair in found.pairs] == [(0, 1, 1.0)]


def test_ocr_errors_do_not_hide_duplicates() -> None:
    text = words(1)
    noisy = text.replace("a", "o", 3).replace("e", "c", 3)
    found = group([text, words(2), noisy, words(3)])
    assert found.group[2] == 0
    assert len(set(found.group)) == 3


def test_groups_are_transitive() -> None:
    parts = [words(n, 20) for n in range(12)]
    chain = [" ".join(parts[n : n + 10]) for n in range(3)]
    found = group([words(99), *chain], threshold=0.75)
    assert found.group == [0, 1, 1, 1]
    assert found.sizes() == {1: 3}


def test_similarity_is_jaccard() -> None:
    one, other = words(5), words(5, 150) + " " + words(6, 30)
    sketches = MinHashIndex()
    for text in (one, other):
        sketches.add(text)
    assert sketches.similarity(0, 1) == pytest.approx(exact(one, other), abs=0.06)
    short = MinHashIndex()
    for text in ("abcdefghij", "abcdefghijk"):
        short.add(text)
    assert short.similarity(0, 1) == pytest.approx(6 / 7)


@given(texts=st.lists(st.text(max_size=40), max_size=12))
@settings(max_examples=50, deadline=None)
def test_grouping_is_deterministic(texts: list[str]) -> None:
    found = group(texts)
    assert found == group(texts)
    assert len(found.group) == len(texts)
    assert all(leader <= place and found.group[leader] == leader for place, leader in enumerate(found.group))
    for pair in found.pairs:
        assert found.group[pair.first] == found.group[pair.second]


def test_sampled_similarity_is_close() -> None:
    one, other = words(5, 2_000), words(5, 1_900) + " " + words(6, 100)
    sketches = MinHashIndex(kept=SHORT_SKETCH)
    for text in (one, other):
        sketches.add(text)
    assert sketches.similarity(0, 1) == pytest.approx(exact(one, other), abs=0.08)


def test_empty_and_long_texts() -> None:
    found = group(["", "", "\N{ZERO WIDTH SPACE}", "\ud800", "x" * 200_000, "x" * 200_001, words(1, 30_000)])
    assert found.group[0] == found.group[1]
    assert found.group[4] == found.group[5]


@pytest.mark.slow
def test_many_copies_are_fast() -> None:
    started = time.process_time()
    found = group(f"{words(7)} number {n}" for n in range(1_000))
    assert len(set(found.group)) == 1
    assert time.process_time() - started < 20


def test_duplicate_receipts_are_found(shared: Path) -> None:
    path = shared / "data" / "sroie" / "receipts.jsonl"
    if not path.is_file():
        pytest.skip("no receipts beside the repository")
    receipts = [json.loads(line) for line in path.read_text().splitlines()]
    twice: dict[str, list[int]] = {}
    for place, row in enumerate(receipts):
        twice.setdefault(json.dumps(row["gold"], sort_keys=True), []).append(place)
    found = group(row["text"] for row in receipts)
    # What was read off one receipt twice says the same in every field; at 0.8 most of these pairs are seen.
    likely = [places for places in twice.values() if len(places) == 2]
    seen = sum(found.group[one] == found.group[other] for one, other in likely)
    assert seen >= min(SCANNED_TWICE, len(likely)) - 1, (seen, len(likely))
    # Forms of one shop in which little but a number differs are taken as well, and no more than a few.
    assert len(found.pairs) < 200
