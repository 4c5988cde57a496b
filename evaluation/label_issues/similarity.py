"""Similar texts: distinctive words to search an index for, and a ranking of the candidates. Pure.

Comparing 100,000 texts takes a minute, so candidates come from an index search for distinctive words (frequent in
failing texts, rare in a sample of all); only these are compared like near-duplicates.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

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
    known = Counter(word for one in sample for word in one)
    shared = Counter(word for one in failing for word in one)
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
    ranked = [sorted(one & weights.keys(), key=lambda word: (-weights[word], word)) for one in failing]
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
    held_out: Sequence[str],
    *,
    limit: int,
    threshold: float = THRESHOLD,
    known: Signatures | None = None,
) -> SimilarDocuments:
    """The ``limit`` candidates that are most similar to a failing text, without near-duplicates of hold-out texts and
    of each other.

    ``known``: signatures of the hold-out texts; only texts whose signatures are close are read then.
    """
    if not candidates or not failing:
        return SimilarDocuments()
    sketches = MinHashIndex()
    for text in (*candidates, *failing):
        sketches.add(text)
    ours = range(len(candidates))
    theirs = range(len(candidates), len(candidates) + len(failing))
    held = HoldoutIndex(sketches, held_out, signatures(held_out) if known is None else known)
    estimates = sketches.estimates(ours, theirs)
    like = estimates.argmax(axis=1)
    score = estimates[np.arange(len(candidates)), like]
    own = sketches.signatures[: len(candidates)]
    rows: list[tuple[int, float, int]] = []
    near, duplicates = 0, 0
    for one in np.argsort(-score, kind="stable").tolist():
        if len(rows) == limit:
            break
        if held.has_near(one, own[one], threshold):
            near += 1
        elif _is_near_duplicate(sketches, one, own, [chosen for chosen, _, _ in rows], threshold):
            duplicates += 1
        else:
            rows.append((one, round(float(score[one]), 3), int(like[one])))
    return SimilarDocuments(rows, near, duplicates)


class HoldoutIndex:
    """The hold-out texts: their signatures, and the sketches of those that were compared."""

    def __init__(self, sketches: MinHashIndex, texts: Sequence[str], stacked: Signatures) -> None:
        self._sketches, self._texts, self._stacked = sketches, texts, stacked
        self._place: dict[int, int] = {}

    def has_near(self, one: int, signature: Signatures, threshold: float) -> bool:
        """Whether a text is a near-duplicate of a hold-out text."""
        return any(
            self._sketches.similarity(one, self._sketch(place)) >= threshold
            for place in _candidates(self._stacked, signature, threshold)
        )

    def _sketch(self, place: int) -> int:
        if place not in self._place:
            self._place[place] = len(self._sketches)
            self._sketches.add(self._texts[place])
        return self._place[place]


def _is_near_duplicate(
    sketches: MinHashIndex, one: int, stacked: Signatures, others: Sequence[int], threshold: float
) -> bool:
    """Whether a text is a near-duplicate of one of some others."""
    if not others:
        return False
    suspects = _candidates(stacked[list(others)], stacked[one], threshold)
    return any(sketches.similarity(one, others[place]) >= threshold for place in suspects)


def _candidates(stacked: Signatures, signature: Signatures, threshold: float) -> list[int]:
    """Indexes of the signatures that may be this similar."""
    same = np.count_nonzero(stacked == signature, axis=1)
    found: list[int] = np.flatnonzero(same >= (threshold - _SLACK) * len(signature)).tolist()
    return found
