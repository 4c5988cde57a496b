"""The split assignment of a dataset version. Pure: candidates and a seed in, splits out.

A hash of seed and key gives a number from 0 to 1, which does not change while a project grows. Near-duplicates, and
documents with the same value of the grouping rule, form a family. A family is one group: its oldest member's key
decides, and it is never split. Only a large family can be spread, if the rules say so: then its near-duplicates are the
groups.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from labeling.datasets.near_duplicates import normal_form

TRAIN, VALIDATION, HOLDOUT = "train", "validation", "holdout"
ORDER = (TRAIN, VALIDATION, HOLDOUT)
HUMAN_ORIGINS = frozenset({"human", "imported"})
MIN_HOLDOUT = 20
#: the share of all documents from which a family is large
LARGE_SHARE = 0.1
#: what is done with large families, besides nothing: held out whole, or on each side
WHOLE, SPREAD = "whole", "spread"
#: why a gold label is in no split, as stored with a version and its pairs of near-duplicates
NEAR_DUPLICATE, RELATED, NOT_BY_PEOPLE = "near_duplicate_of_holdout", "related_to_holdout", "holdout_not_by_people"
INVALID, NOT_CHOSEN, OVER_LIMIT = "does_not_fit_schema", "not_chosen", "over_the_most"
EXCLUSION_REASONS = {
    NEAR_DUPLICATE: "Near-duplicate of a hold-out document",
    RELATED: "In the same group as a hold-out document",
    NOT_BY_PEOPLE: "Hold-out document that is generated or labeled from a pre-label",
    INVALID: "Label invalid under the schema",
    NOT_CHOSEN: "Excluded by the rules",
    OVER_LIMIT: "Over the maximum number",
}


def text_key(text: str) -> bytes:
    """A key that is equal for texts that differ only in case, spacing or Unicode form."""
    return hashlib.blake2b(normal_form(text).encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document with a gold label. ``key``: its ``text_key``.

    ``used``: an earlier version trained on it, so it can never enter the hold-out; nor can ``targeted`` ones, which
    were chosen for a label because a model was likely to fail. ``duplicate_group``: the number of its near-duplicate
    group (default: its text). ``group``: the value of the grouping rule ("": none). ``strata``: its failure tags or
    class, to stratify by. ``included``: whether it passes the filters; hold-out documents always do.
    ``external_id``, ``revision_id`` and ``tags`` are of the label when it was collected.
    """

    pk: int
    key: bytes
    holdout: bool
    origin: str
    used: bool = False
    duplicate_group: int | None = None
    group: str = ""
    strata: tuple[str, ...] = ()
    included: bool = True
    targeted: bool = False
    external_id: str = ""
    revision_id: int = 0
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class SplitAssignment:
    """By primary key: the ``split`` of a document, or why it is ``excluded`` (a key of ``EXCLUSION_REASONS``).

    ``family``: the oldest member of the family of each document in a split, itself where it is alone.
    """

    split: dict[int, str]
    excluded: dict[int, str]
    new_holdout: list[int]
    family: dict[int, int]


@dataclass(slots=True)
class _Group:
    members: list[Candidate]
    key: bytes = b""
    stratum: str = ""

    @property
    def size(self) -> int:
        return len(self.members)


def hash_fraction(seed: int, purpose: str, key: bytes) -> float:
    """A number in [0, 1) that depends only on seed, purpose and key."""
    digest = hashlib.blake2b(key, digest_size=8, salt=purpose.encode()[:16], key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign_splits(
    candidates: Iterable[Candidate],
    *,
    seed: int,
    validation_share: float,
    holdout_share: float,
    most: int | None = None,
    large_families: str = "",
) -> SplitAssignment:
    """Splits for all candidates.

    An existing hold-out stays the hold-out. Without one, ``holdout_share`` of all included documents is drawn from
    those that no earlier version used and that are not targeted. A hold-out has real documents that people labeled
    without a pre-label; other documents only if there are none. Validation is a share of the rest. Near-duplicates and
    group members of hold-out documents are excluded.

    ``large_families``: "whole" also draws one of them into the hold-out, whatever its size; "spread" draws their
    documents one by one. By default they are groups as all others, and one that is larger than the hold-out stays in
    training.
    """
    everyone = sorted(candidates, key=lambda candidate: candidate.pk)
    taken = [candidate for candidate in everyone if candidate.included or candidate.holdout]
    result = SplitAssignment({}, {c.pk: NOT_CHOSEN for c in everyone if not (c.included or c.holdout)}, [], {})
    families = _groups(taken)
    groups = _groups(taken, _spread(taken)) if large_families == SPREAD else families
    held = [group for group in groups if any(member.holdout for member in group.members)]
    if held:
        _keep_holdout(held, result)
    else:
        held = _draw_holdout(groups, seed, holdout_share, large_families == WHOLE)
        _new_holdout(held, result)
    out = {id(group) for group in held}
    rest = [group for group in groups if id(group) not in out]
    rest, over = _limited(rest, seed, most)
    result.excluded.update({member.pk: OVER_LIMIT for group in over for member in group.members})
    validation = {id(group) for group in _draw_validation(rest, seed, validation_share)}
    for group in rest:
        for member in group.members:
            result.split[member.pk] = VALIDATION if id(group) in validation else TRAIN
    for family in families:
        members = [member.pk for member in family.members if member.pk in result.split]
        result.family.update(dict.fromkeys(members, min(members, default=0)))
    return result


def is_large(size: int, documents: int) -> bool:
    """Whether a family of this size is large among so many documents."""
    return size > 1 and size >= LARGE_SHARE * documents


def _spread(candidates: Sequence[Candidate]) -> set[str]:
    """The values of the grouping rule that are no groups: the large ones, and those that are on both sides already,
    which may have been large before."""
    sizes = Counter(candidate.group for candidate in candidates if candidate.group)
    held = {candidate.group for candidate in candidates if candidate.holdout}
    used = {candidate.group for candidate in candidates if candidate.used and not candidate.holdout}
    return {group for group, size in sizes.items() if is_large(size, len(candidates)) or group in held & used}


def _new_holdout(held: list[_Group], result: SplitAssignment) -> None:
    """Consistent with a later ``_keep_holdout``: if one label is by a human, the others are excluded."""
    members = sorted((member for group in held for member in group.members), key=lambda member: member.pk)
    clean = any(member.origin in HUMAN_ORIGINS for member in members)
    for member in members:
        if clean and member.origin not in HUMAN_ORIGINS:
            result.excluded[member.pk] = NOT_BY_PEOPLE
        else:
            result.new_holdout.append(member.pk)
            result.split[member.pk] = HOLDOUT


def _keep_holdout(held: list[_Group], result: SplitAssignment) -> None:
    clean = any(member.holdout and member.origin in HUMAN_ORIGINS for group in held for member in group.members)
    for group in held:
        alike = {_duplicate_group(member) for member in group.members if member.holdout}
        for member in group.members:
            if member.holdout and clean and member.origin not in HUMAN_ORIGINS:
                result.excluded[member.pk] = NOT_BY_PEOPLE
            elif member.holdout:
                result.split[member.pk] = HOLDOUT
            else:
                result.excluded[member.pk] = NEAR_DUPLICATE if _duplicate_group(member) in alike else RELATED


def _duplicate_group(candidate: Candidate) -> object:
    return candidate.key if candidate.duplicate_group is None else candidate.duplicate_group


def _groups(candidates: list[Candidate], spread: Collection[str] = ()) -> list[_Group]:
    """Candidates joined by near-duplication and group, except groups in ``spread``; each led by its oldest member."""
    leader: dict[int, int] = {candidate.pk: candidate.pk for candidate in candidates}

    def lead(pk: int) -> int:
        while leader[pk] != pk:
            leader[pk] = leader[leader[pk]]
            pk = leader[pk]
        return pk

    first: dict[tuple[str, object], int] = {}
    for candidate in candidates:
        names: list[tuple[str, object]] = [("text", candidate.key), ("alike", _duplicate_group(candidate))]
        if candidate.group and candidate.group not in spread:
            names.append(("family", candidate.group))
        for name in names:
            leading, other = lead(candidate.pk), lead(first.setdefault(name, candidate.pk))
            leader[max(leading, other)] = min(leading, other)

    members: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        members[lead(candidate.pk)].append(candidate)
    common = Counter(stratum for candidate in candidates for stratum in candidate.strata)
    groups = []
    for group in members.values():
        oldest = group[0]
        by_group = oldest.group and oldest.group not in spread
        key = hashlib.blake2b(oldest.group.encode(), digest_size=16).digest() if by_group else oldest.key
        strata = {stratum for member in group for stratum in member.strata}
        # The rarest stratum, so rare ones are represented.
        groups.append(_Group(group, key, min(strata, key=lambda name: (common[name], name), default="")))
    return groups


def _strata(groups: Iterable[_Group]) -> list[list[_Group]]:
    """Groups by stratum, rarest first."""
    strata: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        strata[group.stratum].append(group)
    return [strata[name] for name in sorted(strata, key=lambda name: (len(strata[name]), name))]


def _draw_holdout(groups: list[_Group], seed: int, share: float, with_large: bool = False) -> list[_Group]:
    """Whole groups, proportionally from each stratum; at least one, never all. ``with_large``: and one large one."""
    if share <= 0 or len(groups) < 2:
        return []
    fresh = [group for group in groups if not any(member.used or member.targeted for member in group.members)]
    fresh.sort(key=lambda group: hash_fraction(seed, HOLDOUT, group.key))
    people_made = [group for group in fresh if all(member.origin in HUMAN_ORIGINS for member in group.members)]
    others = [group for group in fresh if any(member.origin not in HUMAN_ORIGINS for member in group.members)]
    documents = sum(group.size for group in groups)
    if with_large:
        large = next((group for group in people_made or others if is_large(group.size, documents)), None)
        if large is not None:
            rest = [group for group in groups if group is not large]
            return [large, *_draw_holdout(rest, seed, share)] if rest else []
    wanted = max(1, round(share * documents))
    if not people_made:
        return _take_evenly(others, wanted, len(groups) - 1)
    # Training keeps at least half of the human labels, once the hold-out is large enough.
    people = sum(group.size for group in people_made)
    return _take_evenly(people_made, min(wanted, max(MIN_HOLDOUT, people // 2)), len(groups) - 1)


def _take_evenly(groups: list[_Group], wanted: int, max_groups: int) -> list[_Group]:
    """Groups in their order until about ``wanted`` documents, proportionally from each stratum.

    The only group of a stratum stays in training, unless there is only one stratum.
    """
    if max_groups <= 0 or not groups:
        return []
    total = sum(group.size for group in groups)
    strata = _strata(groups)
    chosen: list[_Group] = []
    for stratum in strata:
        if len(stratum) > 1 or len(strata) == 1:
            share = sum(group.size for group in stratum) / total
            chosen += _fill(stratum, max(1, round(wanted * share)))
    return (chosen or groups[:1])[:max_groups]


def _fill(groups: list[_Group], part: int) -> list[_Group]:
    """Groups in their order that bring the count closer to ``part``; the smallest if all are larger."""
    chosen: list[_Group] = []
    count = 0
    for group in groups:
        if count >= part:
            break
        if group.size <= part and abs(count + group.size - part) <= abs(count - part):
            chosen.append(group)
            count += group.size
    return chosen or [min(groups, key=lambda group: group.size)]


def _limited(groups: list[_Group], seed: int, most: int | None) -> tuple[list[_Group], list[_Group]]:
    """The groups that fit into ``most`` documents, and the others; stable while the project grows."""
    if most is None or sum(group.size for group in groups) <= most:
        return groups, []
    kept: list[_Group] = []
    over: list[_Group] = []
    count = 0
    for group in sorted(groups, key=lambda group: hash_fraction(seed, "most", group.key)):
        fits = count + group.size <= most
        (kept if fits else over).append(group)
        count += group.size if fits else 0
    return kept, over


def _draw_validation(groups: Sequence[_Group], seed: int, share: float) -> list[_Group]:
    """Groups whose hash is below the share; at least one of a stratum with two groups, never all."""
    if share <= 0 or len(groups) < 2:
        return []

    def place(group: _Group) -> float:
        return hash_fraction(seed, VALIDATION, group.key)

    strata = [stratum for stratum in _strata(groups) if len(stratum) > 1] or [list(groups)]
    chosen: list[_Group] = []
    for stratum in strata:
        ranked = sorted(stratum, key=place)
        count = sum(place(group) < share for group in ranked)
        chosen += ranked[: min(max(1, count), len(ranked) - 1)]
    return chosen
