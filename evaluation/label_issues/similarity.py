"""Which texts are like some others: words to look for in an index, and a ranking of what was found. Pure.

Looking at 100,000 texts takes a minute, so that first an index is asked for texts that share telling words (frequent
among the ones that failed, rare among a sample of all); only what it finds is compared piece by piece, as
near-duplicates are.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labeling.datasets.near_duplicates import THRESHOLD, MinHashIndex

#: of a text only so much is read for its words
MOST_CHARACTERS = 20_000
Signatures = NDArray[np.uint32]
#: how far below the threshold an estimate is looked at more closely
_SLACK = 0.1
_WORD = re.compile(r"[^\W_]{4,30}")
_LETTERS = re.compile(r"[^\W\d_]{4,30}")


def words(text: str) -> set[str]:
    """The words of a text as the index has them: in capitals, four characters or more."""
    return set(_WORD.findall(text[:MOST_CHARACTERS].upper()))


def telling(failing: Sequence[set[str]], sample: Sequence[set[str]], most: int = 48) -> list[tuple[str, float]]:
    """Words to look for, with how much each tells: shared by what failed, and rare in the sample.

    A word of one failing text alone counts where the sample knows it, or where it is letters only: a number that is
    nowhere else finds nothing.
    """
    known = Counter(word for one in sample for word in one)
    shared = Counter(word for one in failing for word in one)
    limit = max(1, len(sample) // 5)
    weights: dict[str, float] = {}
    for word, count in shared.items():
        there = known[word]
        if there > limit or (count == 1 and not there and not _LETTERS.fullmatch(word)):
            continue
        rarity = math.log((len(sample) + 1) / (there + 0.5))
        weights[word] = rarity * math.sqrt(count)
    best = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    chosen = dict(best[: most // 2])
    # From each failing text its own best words, so that a few that are much alike do not take all places.
    ranked = [sorted(one & weights.keys(), key=lambda word: (-weights[word], word)) for one in failing]
    for place in range(4):
        for own in ranked:
            if len(chosen) < most and place < len(own):
                chosen.setdefault(own[place], weights[own[place]])
    return sorted(chosen.items(), key=lambda item: (-item[1], item[0]))


@dataclass(frozen=True)
class Found:
    """Candidates by their place, the most alike first: (candidate, likeness from 0 to 1, the failing text it is like).

    ``near_held_out`` were left out for being nearly the same as a text that is held out, ``twins`` for being nearly the
    same as one that is chosen already.
    """

    rows: list[tuple[int, float, int]] = field(default_factory=list)
    near_held_out: int = 0
    twins: int = 0


def signatures(texts: Iterable[str]) -> Signatures:
    """The signature of each text, a row for each, from which its likeness to others is estimated."""
    sketches = MinHashIndex(kept=1)
    for text in texts:
        sketches.add(text)
    return sketches.signatures


def nearest(
    candidates: Sequence[str],
    failing: Sequence[str],
    held_out: Sequence[str],
    *,
    most: int,
    threshold: float = THRESHOLD,
    known: Signatures | None = None,
) -> Found:
    """The ``most`` candidates that are most like one of the failing texts, none of them nearly the same as a text that
    is held out or as another that is chosen.

    ``known``: signatures of what is held out. With them only those of its texts are read that look nearly the same.
    """
    if not candidates or not failing:
        return Found()
    sketches = MinHashIndex()
    for text in (*candidates, *failing):
        sketches.add(text)
    ours = range(len(candidates))
    theirs = range(len(candidates), len(candidates) + len(failing))
    held = _Held(sketches, held_out, signatures(held_out) if known is None else known)
    estimates = sketches.estimates(ours, theirs)
    like = estimates.argmax(axis=1)
    score = estimates[np.arange(len(candidates)), like]
    own = sketches.signatures[: len(candidates)]
    rows: list[tuple[int, float, int]] = []
    near, twins = 0, 0
    for one in np.argsort(-score, kind="stable").tolist():
        if len(rows) == most:
            break
        if held.has_near(one, own[one], threshold):
            near += 1
        elif _near(sketches, one, own, [chosen for chosen, _, _ in rows], threshold):
            twins += 1
        else:
            rows.append((one, round(float(score[one]), 3), int(like[one])))
    return Found(rows, near, twins)


class _Held:
    """What is held out: its signatures, stacked once, and the sketches of those texts that had to be looked at."""

    def __init__(self, sketches: MinHashIndex, texts: Sequence[str], stacked: Signatures) -> None:
        self._sketches, self._texts, self._stacked = sketches, texts, stacked
        self._place: dict[int, int] = {}

    def has_near(self, one: int, signature: Signatures, threshold: float) -> bool:
        """Whether a text is nearly the same as one that is held out."""
        return any(
            self._sketches.similarity(one, self._sketch(place)) >= threshold
            for place in _suspects(self._stacked, signature, threshold)
        )

    def _sketch(self, place: int) -> int:
        if place not in self._place:
            self._place[place] = len(self._sketches)
            self._sketches.add(self._texts[place])
        return self._place[place]


def _near(sketches: MinHashIndex, one: int, stacked: Signatures, others: Sequence[int], threshold: float) -> bool:
    """Whether a text is nearly the same as one of some others."""
    if not others:
        return False
    suspects = _suspects(stacked[list(others)], stacked[one], threshold)
    return any(sketches.similarity(one, others[place]) >= threshold for place in suspects)


def _suspects(stacked: Signatures, signature: Signatures, threshold: float) -> list[int]:
    """Places of the signatures that say: perhaps as much alike as that."""
    same = np.count_nonzero(stacked == signature, axis=1)
    found: list[int] = np.flatnonzero(same >= (threshold - _SLACK) * len(signature)).tolist()
    return found
