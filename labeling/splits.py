"""Who goes where in a dataset version. Pure: texts' keys, flags and a seed in, splits out.

A draw is a number from 0 to 1 that a seed and a document's normalised text give, so it stays the same while a project
grows, and texts that differ only in case, spacing or Unicode form are always on the same side.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TRAIN, VALIDATION, HOLDOUT = "train", "validation", "holdout"
ORDER = (TRAIN, VALIDATION, HOLDOUT)
PEOPLE_MADE = frozenset({"human", "imported"})


def text_key(text: str) -> bytes:
    """What texts that differ only in case, spacing or Unicode form share."""
    normal = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.blake2b(normal.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document with gold: what the draw needs of it. ``key`` is its ``text_key``."""

    pk: int
    key: bytes
    holdout: bool
    origin: str


@dataclass(frozen=True)
class Plan:
    """``split`` by primary key; who is newly held out; who is left out because a hold-out document is nearly the same."""

    split: dict[int, str]
    newly_held_out: list[int]
    near_duplicates: list[int]


def draw(seed: int, purpose: str, key: bytes) -> float:
    """A number in [0, 1), the same for ever for the same seed, purpose and text."""
    digest = hashlib.blake2b(key, digest_size=8, salt=purpose.encode()[:16], key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def plan(candidates: Iterable[Candidate], *, seed: int, validation_share: float, holdout_share: float) -> Plan:
    """Splits for all candidates.

    Where some are held out already, those are the hold-out. Where none are, ``holdout_share`` of them is drawn, from
    real documents with labels made by people as far as there are any. Validation is a share of the rest.
    """
    groups: dict[bytes, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.key].append(candidate)
    held = {key for key, members in groups.items() if any(member.holdout for member in members)}
    newly_held_out: list[int] = []
    if not held:
        held = _draw_holdout(groups, seed, holdout_share)
        newly_held_out = [member.pk for key in held for member in groups[key]]

    split: dict[int, str] = {}
    near_duplicates: list[int] = []
    new = set(newly_held_out)
    for key in held:
        for member in groups[key]:
            if member.holdout or member.pk in new:
                split[member.pk] = HOLDOUT
            else:
                near_duplicates.append(member.pk)
    rest = [key for key in groups if key not in held]
    validation = _draw_validation(rest, seed, validation_share)
    for key in rest:
        for member in groups[key]:
            split[member.pk] = VALIDATION if key in validation else TRAIN
    return Plan(split, sorted(newly_held_out), sorted(near_duplicates))


def _draw_holdout(groups: dict[bytes, list[Candidate]], seed: int, share: float) -> set[bytes]:
    """Whole groups until the share is reached; at least one document, and never all."""
    made_by_people = {
        key: members for key, members in groups.items() if all(member.origin in PEOPLE_MADE for member in members)
    }
    pool = made_by_people or groups
    if share <= 0 or len(groups) < 2:
        return set()
    wanted = max(1, round(share * sum(len(members) for members in pool.values())))
    chosen: set[bytes] = set()
    count = 0
    for key in sorted(pool, key=lambda key: draw(seed, HOLDOUT, key)):
        if count >= wanted or len(chosen) == len(groups) - 1:
            break
        chosen.add(key)
        count += len(pool[key])
    return chosen


def _draw_validation(keys: Sequence[bytes], seed: int, share: float) -> set[bytes]:
    """Everything whose draw is below the share; at least one group where there are two, and never all."""
    if share <= 0 or len(keys) < 2:
        return set()
    ranked = sorted(keys, key=lambda key: draw(seed, VALIDATION, key))
    count = sum(draw(seed, VALIDATION, key) < share for key in ranked)
    return set(ranked[: min(max(1, count), len(ranked) - 1)])
