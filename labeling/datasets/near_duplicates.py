"""Near-duplicate texts. Pure and deterministic: texts in, groups and pairs out.

Two texts are near-duplicates if the Jaccard similarity (intersection over union) of their shingles of five characters,
ignoring case, spacing and Unicode form, is at least the threshold. Digits are not masked. Measured on 626 receipts,
with 8 pairs of scans of the same receipt and 4,506 other pairs from the same shop: a threshold of 0.8 finds 7 of the 8
and 97 of the others (2%), in which little but a number differs. With masked digits it finds 2,161 of the others, and
shingles of three words find fewer of the scans (OCR breaks words).

Candidates come from MinHash signatures (Broder 1997) cut into bands (Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, 3.4); pairs that join two groups are compared by their shingles. ``MAX_BUCKET``, ``CHECKS`` and ``SKETCH``
limit time and memory: with thousands of similar texts, not all pairs are compared.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.8
LOWEST, HIGHEST = 0.6, 1.0
SHINGLE_LENGTH = 5
PERMUTATIONS = 192
#: probability that a pair exactly at the threshold becomes a candidate
RECALL = 0.97
#: maximum number of following texts in a bucket that a text is compared with
MAX_BUCKET = 60
#: maximum number of joins checked by shingles; after them, the estimate of the signatures decides
CHECKS = 200_000
#: maximum number of shingles kept per text, those with the smallest hashes; the second with very many texts (standard
#: error of an estimate from 256 shingles: 2.5%)
SKETCH, SHORT_SKETCH = 1024, 256
#: number of shingles that are permuted at a time
BLOCK = 4096
_FACTOR = 0x01000193

Hashes = NDArray[np.uint32]


def normal_form(text: str) -> str:
    """The text normalized in case, spacing and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


@dataclass(frozen=True, slots=True)
class Pair:
    """The indexes of two texts, the lower one first, and their similarity from 0 to 1."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class NearDuplicates:
    """``group``: for each text the index of its group's first text; ``pairs``: the most similar ones, descending.

    ``pair_count``: the number of all pairs.
    """

    group: list[int]
    pairs: list[Pair] = field(default_factory=list)
    pair_count: int = 0

    def sizes(self) -> dict[int, int]:
        """The number of texts of each group of more than one."""
        numbers, counts = np.unique(np.array(self.group, dtype=np.int64), return_counts=True)
        return {int(number): int(count) for number, count in zip(numbers, counts, strict=True) if count > 1}


class MinHashIndex:
    """The signature of each text and a sample of at most ``kept`` of its shingles (4 bytes each).

    Call ``add`` for each text, then ``find``.
    """

    def __init__(self, kept: int = SKETCH) -> None:
        # A local import: it loads scipy, and pages need only the constants of this module.
        from datasketch import MinHash

        self._kept = kept
        a, b = MinHash(num_perm=PERMUTATIONS, seed=1, scheme="affine32").permutations
        self._factors: Hashes = np.asarray(a, dtype=np.uint32)[:, None]
        self._offsets: Hashes = np.asarray(b, dtype=np.uint32)[:, None]
        self._signatures: list[Hashes] = []
        self._samples: list[Hashes] = []
        self._limits: list[int] = []

    def __len__(self) -> int:
        return len(self._signatures)

    def add(self, text: str) -> None:
        """Adds a text. The text itself is not stored."""
        hashes = _shingles(normal_form(text))
        signature = np.full(PERMUTATIONS, np.iinfo(np.uint32).max, dtype=np.uint32)
        for start in range(0, len(hashes), BLOCK):
            block = self._factors * hashes[None, start : start + BLOCK] + self._offsets
            np.minimum(signature, block.min(axis=1), out=signature)
        self._signatures.append(signature)
        limit = 1 << 32
        while len(hashes) > self._kept:
            limit >>= 1
            hashes = hashes[hashes < limit]
        self._samples.append(hashes)
        self._limits.append(limit)

    @property
    def signatures(self) -> Hashes:
        """The signatures, one row per text."""
        return np.vstack(self._signatures) if self._signatures else np.empty((0, PERMUTATIONS), dtype=np.uint32)

    def similarity(self, first: int, second: int) -> float:
        """The Jaccard similarity of two texts: exact up to ``kept`` shingles, above from a common sample."""
        sample, other = self._samples[first], self._samples[second]
        limit = min(self._limits[first], self._limits[second])
        if self._limits[first] > limit:
            sample = sample[: np.searchsorted(sample, limit)]
        if self._limits[second] > limit:
            other = other[: np.searchsorted(other, limit)]
        total = len(sample) + len(other)
        if not total:
            return float(np.array_equal(self._signatures[first], self._signatures[second]))
        common = np.concatenate((sample, other))
        common.sort(kind="stable")
        shared = int(np.count_nonzero(common[1:] == common[:-1]))
        return shared / (total - shared)

    def estimates(self, some: Sequence[int], others: Sequence[int]) -> NDArray[np.float64]:
        """The estimated similarity of some texts (rows) with others (columns); its standard error is at most 0.036."""
        columns = np.vstack([self._signatures[number] for number in others])
        similarities = np.empty((len(some), len(others)), dtype=np.float64)
        for row, number in enumerate(some):
            similarities[row] = (columns == self._signatures[number]).mean(axis=1)
        return similarities

    def find(self, threshold: float = THRESHOLD, most_pairs: int = 5_000) -> NearDuplicates:
        """Groups of near-duplicates (transitively joined), and the most similar pairs."""
        if len(self) < 2:
            return NearDuplicates(list(range(len(self))))
        signatures = np.vstack(self._signatures)
        first, second, estimate = _candidates(signatures, threshold)
        group = self._join(first, second, estimate, threshold)
        alike = (group[first] == group[second]) & (estimate >= threshold - 0.05)
        first, second, estimate = first[alike], second[alike], estimate[alike]
        pairs = [
            Pair(int(a), int(b), similarity)
            for a, b in zip(first[: 2 * most_pairs], second[: 2 * most_pairs], strict=True)
            if (similarity := round(self.similarity(int(a), int(b)), 4)) >= threshold
        ]
        pairs.sort(key=lambda pair: (-pair.similarity, pair.first, pair.second))
        counted = len(pairs) if len(first) <= 2 * most_pairs else int(np.count_nonzero(estimate >= threshold))
        return NearDuplicates([int(number) for number in group], pairs[:most_pairs], counted)

    def _join(
        self, first: NDArray[np.int64], second: NDArray[np.int64], estimate: NDArray[np.float64], threshold: float
    ) -> NDArray[np.int64]:
        """Joins near-duplicates, the most similar first (union-find); the lowest index leads a group."""
        parent = list(range(len(self)))

        def lead(number: int) -> int:
            while parent[number] != number:
                parent[number] = parent[parent[number]]
                number = parent[number]
            return number

        checks = 0
        for a, b, guess in zip(first.tolist(), second.tolist(), estimate.tolist(), strict=True):
            leader, other = lead(a), lead(b)
            if leader == other:
                continue
            checks += 1
            if (self.similarity(a, b) if checks <= CHECKS else guess) >= threshold:
                parent[max(leader, other)] = min(leader, other)
        return np.array([lead(number) for number in range(len(self))], dtype=np.int64)


def group(texts: Iterable[str], threshold: float = THRESHOLD) -> NearDuplicates:
    """The near-duplicates among some texts."""
    sketches = MinHashIndex()
    for text in texts:
        sketches.add(text)
    return sketches.find(threshold)


def _shingles(normal: str) -> Hashes:
    """The sorted hashes of the distinct shingles; one hash for a shorter text."""
    codes = np.frombuffer(normal.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    length = max(1, len(codes) - SHINGLE_LENGTH + 1)
    hashes = np.zeros(length, dtype=np.uint32)
    factor = np.uint32(_FACTOR)
    for offset in range(min(SHINGLE_LENGTH, len(codes))):
        hashes = hashes * factor + codes[offset : offset + length]
    # The finalizer of MurmurHash3 (public domain, Austin Appleby): adjacent shingles get unrelated hashes.
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return np.unique(hashes ^ (hashes >> np.uint32(16)))


def rows_per_band(threshold: float) -> int:
    """The most rows per band with which a pair at the threshold is found with probability ``RECALL``."""
    fitting = [
        rows for rows in range(1, PERMUTATIONS + 1) if 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= RECALL
    ]
    return max(fitting)


def _candidates(
    signatures: Hashes, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs that share a band and whose estimate is near the threshold, the most similar first."""
    count = len(signatures)
    rows = rows_per_band(threshold)
    keys: list[NDArray[np.int64]] = []
    for band in range(PERMUTATIONS // rows):
        keys.append(_sharing(signatures[:, band * rows : (band + 1) * rows], count))
    merged = np.unique(np.concatenate(keys))
    first, second = merged // count, merged % count
    estimate = np.empty(len(merged), dtype=np.float64)
    for start in range(0, len(merged), 20_000):
        part = slice(start, start + 20_000)
        estimate[part] = (signatures[first[part]] == signatures[second[part]]).mean(axis=1)
    near = estimate >= threshold - 0.1
    first, second, estimate = first[near], second[near], estimate[near]
    order = np.lexsort((second, first, -estimate))
    return first[order], second[order], estimate[order]


def _sharing(band: Hashes, count: int) -> NDArray[np.int64]:
    """Keys ``first * count + second`` of the pairs with an equal band."""
    packed = np.ascontiguousarray(band).view(np.dtype((np.void, band.dtype.itemsize * band.shape[1]))).ravel()
    order = np.argsort(packed, kind="stable").astype(np.int64)
    ordered = packed[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    bucket = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, count)))
    nearby: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for step in range(1, MAX_BUCKET + 1):
        same = np.flatnonzero(bucket[step:] == bucket[:-step]) if step < count else np.empty(0, dtype=np.int64)
        if not len(same):
            break
        # A stable sort: texts in a bucket keep their order.
        nearby.append(order[same] * count + order[same + step])
    return np.concatenate(nearby)
