"""Sampling more hold-out documents at random from unlabeled ones, and assigning them to annotators; reserving some of
an import before anyone labels them.

Excludes documents in a training split, and their near-duplicates and group members, as a freeze does. The sample is
reproducible by its seed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet

from labeling.datasets import splits
from labeling.datasets.freeze_candidates import CHUNK, Progress, TextIndex, group_expression, no_progress
from labeling.datasets.freeze_rules import Rules, rules_of
from labeling.datasets.near_duplicates import SHORT_SKETCH, MinHashIndex
from labeling.models import DatasetItem, Document, Gold, Origin, Project, SilverItem, Split
from labeling.models.documents import Selection

#: sampled in addition, to replace near-duplicates of training documents
SPARE = 25
_PURPOSE = "price of proof"


@dataclass(frozen=True)
class HoldoutSample:
    """A sample: document keys in sample order. ``near``: skipped, because they or near-duplicates are in a training
    split.

    ``pool``: the number of unlabeled documents to sample from.
    """

    documents: list[int]
    near: list[int]
    pool: int
    seed: int


def sample_holdout(
    *,
    project: Project,
    count: int,
    seed: int,
    only: Q | None = None,
    people: Sequence[User] = (),
    known: "TrainingTexts | None" = None,
) -> HoldoutSample:
    """Moves up to ``count`` more documents to the hold-out, and assigns unassigned ones to ``people`` in turn (empty:
    to no one).

    ``only``: restricts the documents, for example ``Q(tags__contains=["poor_scan"])``. ``known``: training texts that
    were read before a lock was taken.
    """
    pool = unlabeled_documents(project, only)
    order = sorted(
        (splits.hash_fraction(seed, _PURPOSE, bytes.fromhex(sha)), pk) for pk, sha in pool.values_list("pk", "sha256")
    )
    known = known or TrainingTexts(project)
    chosen: list[int] = []
    near: list[int] = []
    place = 0
    while len(chosen) < count and place < len(order):
        part = [pk for _, pk in order[place : place + count - len(chosen) + SPARE]]
        place += len(part)
        like = known.similar(part)
        for pk in part:
            if len(chosen) == count:
                break
            (near if pk in like else chosen).append(pk)
    taken = _hold_out(project, chosen, people)
    return HoldoutSample([pk for pk in chosen if pk in taken], near, len(order), seed)


def reserve_holdout(
    *, project: Project, documents: Sequence[int], count: int, seed: int, progress: Progress = no_progress
) -> int:
    """Moves about ``count`` of some unlabeled documents to the hold-out, drawn as a freeze draws it: near-duplicates
    and groups stay together. Returns the number of those moved; fewer where some are similar to training documents.
    """
    if count <= 0 or not documents:
        return 0
    rules = _newest_rules(project)
    texts = TextIndex(rules.similarity)
    texts.read(project, progress, documents)
    _, groups = texts.groups()
    families = Document.objects.filter(pk__in=documents).values_list("pk", group_expression(rules.group_by, ""))
    candidates = [
        splits.Candidate(
            pk, texts.keys[pk], holdout=False, origin=Origin.HUMAN, duplicate_group=groups[pk], group=family or ""
        )
        for pk, family in families
    ]
    drawn = splits.assign_splits(
        candidates,
        seed=seed,
        validation_share=0,
        holdout_share=count / len(candidates),
        large_families=rules.large_families,
    ).new_holdout
    near = TrainingTexts(project).similar(drawn)
    return len(_hold_out(project, [pk for pk in drawn if pk not in near], ()))


def _newest_rules(project: Project) -> Rules:
    newest = project.datasets.order_by("-number").first()
    return rules_of(newest.rules) if newest is not None else Rules()


def unlabeled_documents(project: Project, only: Q | None = None) -> QuerySet[Document]:
    """Documents that can enter the hold-out: new, unlabeled, in no dataset version, not targeted. Generated ones only
    if the hold-out has no real ones.
    """
    rows: QuerySet[Document] = Document.objects.unlabeled(project).filter(only or Q(), holdout=False)
    rows = rows.exclude(selection=Selection.TARGETED)
    if Document.objects.filter(project=project, holdout=True, synthetic=False).exists():
        rows = rows.filter(synthetic=False)
    used = DatasetItem.objects.filter(dataset__project=project).values("document")
    silver = SilverItem.objects.filter(dataset__project=project).values("document")
    return rows.exclude(pk__in=used).exclude(pk__in=silver).order_by("pk")


@transaction.atomic
def _hold_out(project: Project, chosen: Sequence[int], people: Sequence[User]) -> set[int]:
    """Marks documents that are still unlabeled, under the lock that all moves between splits use."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    free = unlabeled_documents(project).filter(pk__in=chosen).select_for_update(of=("self",), no_key=True)
    still = set(free.values_list("pk", flat=True))
    taken = [pk for pk in chosen if pk in still]
    turns: dict[User | None, list[int]] = {}
    for number, pk in enumerate(taken):
        turns.setdefault(people[number % len(people)] if people else None, []).append(pk)
    for person, mine in turns.items():
        rows = Document.objects.filter(pk__in=mine)
        if person is not None:
            rows.filter(assigned_to=None).update(assigned_to=person)
        rows.update(holdout=True)
    return set(taken)


class TrainingTexts:
    """The training documents of a project, and a search for their near-duplicates and group members."""

    def __init__(self, project: Project) -> None:
        trained = DatasetItem.objects.filter(dataset__project=project).exclude(split=Split.HOLDOUT)
        # Including labels that are currently not gold: after a correction, they are training data.
        labeled = Gold.objects.newest_of(project).filter(document__holdout=False)
        rules = _newest_rules(project)
        self._threshold, self._group_by = rules.similarity, rules.group_by
        silver = SilverItem.objects.filter(dataset__project=project)
        parts = (rows.values_list("document_id", flat=True) for rows in (trained, labeled, silver))
        self._ids = sorted({pk for part in parts for pk in part})
        self._sketches: MinHashIndex | None = None
        self._families: set[str] = set()

    def read(self) -> "TrainingTexts":
        """Reads and indexes the texts, which can take seconds."""
        if self._sketches is None and self._ids:
            self._sketches = MinHashIndex(SHORT_SKETCH)
            for text in _texts(self._ids):
                self._sketches.add(text)
        return self

    def similar(self, some: Sequence[int]) -> set[int]:
        """Those of some documents that are near-duplicates or group members of a training document."""
        if not self._ids or not some:
            return set()
        self.read()
        assert self._sketches is not None
        start = len(self._sketches)
        for text in _texts(some):
            self._sketches.add(text)
        group = self._sketches.find(self._threshold).group
        known = set(group[: len(self._ids)])
        return {pk for pk, number in zip(some, group[start:], strict=True) if number in known} | self._relatives(some)

    def _relatives(self, some: Sequence[int]) -> set[int]:
        if not self._group_by:
            return set()
        family = group_expression(self._group_by)
        if not self._families:
            known = Document.objects.filter(pk__in=self._ids).annotate(family=family)
            self._families = {name for name in known.values_list("family", flat=True).distinct() if name}
        rows = Document.objects.filter(pk__in=some).annotate(family=family).values_list("pk", "family")
        return {pk for pk, name in rows if name and name in self._families}


def _texts(ids: Sequence[int]) -> Iterable[str]:
    """The texts of some documents, in this order."""
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        texts = dict(Document.objects.filter(pk__in=part).values_list("pk", "text"))
        yield from (texts[pk] for pk in part)
