"""Guesses the tokens that come next, from what stands in the prompt and in other answers. No model is asked.

An answer mostly copies from its document, and what it does not copy (names of fields, punctuation, the address of a
shop that is seen often) stands in other answers to the same contract. So the last few tokens are looked up in both, and
what followed them there is guessed: every place votes for the token behind it, ten times as loud for each token more
that agrees in front of it, and a place that was outvoted is heard no longer. The idea is that of SuffixDecoding
(arXiv:2411.04975); a scan of some 40,000 tokens, about 0.1 ms, stands in for its tree.

A wrong guess only costs time, because the model checks every token (``training.ml.decoding.decoder``).
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
#: stands in front of each answer, and nowhere else
_START = -1
#: tokens of other answers that are kept; the oldest go
MOST_KEPT = 40_000
#: tokens in front of a place that are compared
_DEEPEST = 8
#: A guess ends where the chance that all of it is right falls below this. On two cores a token more costs 2 ms and a
#: step 50 to 70, so one that comes true more often than 1 in 30 times would pay; the votes are too sure of themselves.
_LEAST = 0.05
#: how often a token comes true that all places vote for; seen on receipts with a tuned model
_TRUST = 0.8


class Foresight:
    """What is known about the answers to one contract."""

    def __init__(self, known: Iterable[Sequence[int]] = ()) -> None:
        """``known``: token ids of answers that stand already, such as those of the training documents."""
        self._known: Ids = np.empty(0, dtype=np.int64)
        self.learn(*known)

    def learn(self, *answers: Sequence[int]) -> None:
        """Takes up answers; the next ones are guessed from them too."""
        added = (np.array([_START, *answer], dtype=np.int64) for answer in answers)
        self._known = np.concatenate([self._known, *added])[-MOST_KEPT:]

    def guess(self, prompt: Ids, written: Sequence[int], most: int) -> list[int]:
        """At most ``most`` tokens that probably follow ``written``, which is the answer to ``prompt`` so far."""
        if most <= 0:
            return []
        text = np.concatenate([self._known, prompt, np.array([_START, *written], dtype=np.int64)])
        places = np.flatnonzero(text[:-1] == text[-1]) + 1
        weights = 10.0 ** _agreeing(text, places, len(written) + 1)
        found: list[int] = []
        chance = 1.0
        while len(found) < most and len(places):
            followed = text[places]
            tokens, voter = np.unique(followed, return_inverse=True)
            votes = np.bincount(voter, weights)
            best = int(votes.argmax())
            chance *= _TRUST * float(votes[best] / votes.sum())
            if chance < _LEAST or tokens[best] == _START:
                break
            found.append(int(tokens[best]))
            going = (followed == tokens[best]) & (places + 1 < len(text))
            places, weights = places[going] + 1, weights[going]
        return found


def _agreeing(text: Ids, places: Ids, most: int) -> Ids:
    """How many tokens in front of each place are those at the end of ``text``, up to ``most``; the nearest one is."""
    depth = np.ones(len(places), dtype=np.int64)
    agrees = np.ones(len(places), dtype=bool)
    for back in range(2, min(_DEEPEST, most) + 1):
        agrees &= places >= back
        agrees &= text[places - back] == text[-back]
        depth += agrees
    return depth
