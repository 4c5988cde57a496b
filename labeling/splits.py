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
ENOUGH = 20


def text_key(text: str) -> bytes:
    """What texts that differ only in case, spacing or Unicode form share."""
    normal = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.blake2b(normal.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document with gold: what the draw needs of it. ``key`` is its ``text_key``.

    ``used``: an earlier version trained on it, so that it can never be held out any more.
    """

    pk: int
    key: bytes
    holdout: bool
    origin: str
    used: bool = False


@dataclass(frozen=True)
class Plan:
    """``split`` by primary key; who is newly held out; who is left out as nearly the same as one held out."""

    split: dict[int, str]
    newly_held_out: list[int]
    near_duplicates: list[int]


def draw(seed: int, purpose: str, key: bytes) -> float:
    """A number in [0, 1), the same for ever for the same seed, purpose and text."""
    digest = hashlib.blake2b(key, digest_size=8, salt=purpose.encode()[:16], key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def plan(candidates: Iterable[Candidate], *, seed: int, validation_share: float, holdout_share: float) -> Plan:
    """Splits for all candidates.

    Where some are held out already, those are the hold-out. Where none are, ``holdout_share`` of all is drawn from
    those that no earlier version used, real documents with labels made by people first; where there are at least
    ``ENOUGH`` of these, nothing else. Validation is a share of the rest.
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
    """Whole groups until the share of all documents is reached; at least one, and never all."""
    if share <= 0 or len(groups) < 2:
        return set()
    fresh = [key for key, members in groups.items() if not any(member.used for member in members)]
    fresh.sort(key=lambda key: draw(seed, HOLDOUT, key))
    people_made = [key for key in fresh if all(member.origin in PEOPLE_MADE for member in groups[key])]
    others = [key for key in fresh if any(member.origin not in PEOPLE_MADE for member in groups[key])]
    wanted = max(1, round(share * sum(len(members) for members in groups.values())))
    if len(people_made) >= ENOUGH:
        # Enough to judge by: nothing else is let in, and training keeps at least half of what people made.
        wanted = min(wanted, max(ENOUGH, len(people_made) // 2))
        others = []
    chosen: set[bytes] = set()
    count = 0
    for key in [*people_made, *others]:
        if count >= wanted or len(chosen) == len(groups) - 1:
            break
        chosen.add(key)
        count += len(groups[key])
    return chosen


def _draw_validation(keys: Sequence[bytes], seed: int, share: float) -> set[bytes]:
    """Everything whose draw is below the share; at least one group where there are two, and never all."""
    if share <= 0 or len(keys) < 2:
        return set()
    ranked = sorted(keys, key=lambda key: draw(seed, VALIDATION, key))
    count = sum(draw(seed, VALIDATION, key) < share for key in ranked)
    return set(ranked[: min(max(1, count), len(ranked) - 1)])
