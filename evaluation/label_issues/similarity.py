"""Similar texts: distinctive words to search an index for, and a ranking of the candidates. Pure.

Comparing 100,000 texts takes a minute, so candidates come from an index search for distinctive words (frequent in
failing texts, rare in a sample of all); only these are compared like near-duplicates.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray

from labeling.datasets.near_duplicates import THRESHOLD, MinHashIndex

#: characters of a text that are searched for words
MAX_CHARACTERS = 20_000
Signatures = NDArray[np.uint32]
#: estimates this far below the threshold are compared exactly
_SLACK = 0.1
_WORD = re.compile(r"[^\W_]{4,30}")
_LETTERS = re.compile(r"[^\W\d_]{4,30}")


def words(text: str) -> set[str]:
    """The words of a text as in the index: upper case, four characters or more."""
    return set(_WORD.findall(text[:MAX_CHARACTERS].upper()))


def distinctive_words(
    failing: Sequence[set[str]], sample: Sequence[set[str]], limit: int = 48
) -> list[tuple[str, float]]:
    """Words to search for, with their weights: shared by failing texts, and rare in the sample.

    A word of a single failing text counts only if it is in the sample or consists of letters: a number that occurs
    nowhere else would match nothing.
    """
    known = Counter(word for words_of_text in sample for word in words_of_text)
    shared = Counter(word for words_of_text in failing for word in words_of_text)
    max_count = max(1, len(sample) // 5)
    weights: dict[str, float] = {}
    for word, count in shared.items():
        in_sample = known[word]
        if in_sample > max_count or (count == 1 and not in_sample and not _LETTERS.fullmatch(word)):
            continue
        rarity = math.log((len(sample) + 1) / (in_sample + 0.5))
        weights[word] = rarity * math.sqrt(count)
    best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    chosen = dict(best[: limit // 2])
    # The best words of each failing text, so that similar ones do not take all places.
    ranked = [sorted(text & weights.keys(), key=lambda word: (-weights[word], word)) for text in failing]
    for place in range(4):
        for own in ranked:
            if len(chosen) < limit and place < len(own):
                chosen.setdefault(own[place], weights[own[place]])
    return sorted(chosen.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True)
class SimilarDocuments:
    """(candidate, similarity from 0 to 1, most similar failing text) by index, the most similar first.

    ``near_held_out`` candidates were skipped as near-duplicates of hold-out texts, ``duplicates`` as near-duplicates of
    other candidates.
    """

    rows: list[tuple[int, float, int]] = field(default_factory=list)
    near_held_out: int = 0
    duplicates: int = 0


def signatures(texts: Iterable[str]) -> Signatures:
    """The signature of each text, one per row, from which similarities are estimated."""
    sketches = MinHashIndex(kept=1)
    for text in texts:
        sketches.add(text)
    return sketches.signatures


def nearest(
    candidates: Sequence[str],
    failing: Sequence[str],
    held_out: Signatures,
    held_out_text: Callable[[int], str],
    *,
    limit: int,
    threshold: float = THRESHOLD,
) -> SimilarDocuments:
    """The ``limit`` candidates that are most similar to a failing text, without near-duplicates of hold-out texts and
    of each other.

    ``held_out``: signatures of the hold-out texts; only texts whose signatures are close are read.
    """
    if not candidates or not failing:
        return SimilarDocuments()
    sketches = MinHashIndex()
    for text in (*candidates, *failing):
        sketches.add(text)

    @cache
    def sketch_of(place: int) -> int:
        """The place of a hold-out text among the sketches."""
        sketches.add(held_out_text(place))
        return len(sketches) - 1

    estimates = sketches.estimates(
        range(len(candidates)), range(len(candidates), len(candidates) + len(failing))
    )  # fmt: skip
    like = estimates.argmax(axis=1)
    score = estimates[np.arange(len(candidates)), like]
    own = sketches.signatures[: len(candidates)]
    rows: list[tuple[int, float, int]] = []
    near, duplicates = 0, 0

    def is_near(candidate: int, others: Iterable[int]) -> bool:
        return any(sketches.similarity(candidate, other) >= threshold for other in others)

    for candidate in np.argsort(-score, kind="stable").tolist():
        if len(rows) == limit:
            break
        chosen = [place for place, _, _ in rows]
        if is_near(candidate, (sketch_of(place) for place in _close(held_out, own[candidate], threshold))):
            near += 1
        elif is_near(candidate, (chosen[place] for place in _close(own[chosen], own[candidate], threshold))):
            duplicates += 1
        else:
            rows.append((candidate, round(float(score[candidate]), 3), int(like[candidate])))
    return SimilarDocuments(rows, near, duplicates)


def _close(stacked: Signatures, signature: Signatures, threshold: float) -> list[int]:
    """Indexes of the signatures that may be this similar."""
    equal = np.count_nonzero(stacked == signature, axis=1)
    places: list[int] = np.flatnonzero(equal >= (threshold - _SLACK) * len(signature)).tolist()
    return places
