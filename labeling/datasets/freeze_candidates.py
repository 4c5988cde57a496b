"""The candidates of a freeze: gold labels with what the split assignment needs, and a preview of their counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Case, Count, F, Func, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields import BooleanField, TextField

from labeling.datasets import splits
from labeling.datasets.freeze_rules import Rules
from labeling.datasets.near_duplicates import SHORT_SKETCH, SKETCH, MinHashIndex, NearDuplicates
from labeling.failure_tags import tags_of
from labeling.models import (
    DatasetItem,
    Document,
    DocumentPlace,
    Gold,
    Origin,
    Prediction,
    Project,
    SilverItem,
    Split,
)
from labeling.models.annotations import EXCLUDED_STATES
from labeling.models.documents import QUEUE, Selection
from slmstudio.contract.schema.compiled import CompiledSchema, split

CHUNK = 500
MAX_STORED_PAIRS = 5_000
#: with more texts than this, smaller sketches keep memory below 2 KB per document
LARGE_PROJECT = 50_000
#: reports a stage, how much of it is done, and its total (0: unknown)
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Reports nothing."""


@dataclass
class FreezeCandidates:
    """The candidates of a freeze, and the number of earlier labels that are invalid under the current schema.

    ``near_duplicates``: those among all compared texts; ``places``: the documents of these texts.
    """

    candidates: list[splits.Candidate]
    invalid: int
    near_duplicates: NearDuplicates
    places: list[int]


class TextIndex:
    """Keys and near-duplicate groups of a project's labeled texts; reads each text once."""

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self.keys: dict[int, bytes] = {}
        self.places: list[int] = []
        self._sketches: MinHashIndex | None = None

    def read(self, project: Project, progress: Progress, only: Sequence[int] | None = None) -> None:
        """Reads the texts of documents with gold labels, or of ``only`` these documents."""
        rows = Document.objects.filter(project=project)
        gold: Any = Gold.objects.current(project).values("document")
        chosen = rows.filter(pk__in=gold if only is None else only)
        # Ids first: a query over the texts would sort the texts.
        ids = list(chosen.order_by("pk").values_list("pk", flat=True))
        if self._sketches is None:
            self._sketches = MinHashIndex(SHORT_SKETCH if len(ids) > LARGE_PROJECT else SKETCH)
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            for pk, text in Document.objects.filter(pk__in=part).order_by("pk").values_list("pk", "text"):
                self.keys[pk] = splits.text_key(text)
                self.places.append(pk)
                self._sketches.add(text)
            progress("comparing texts", start + len(part), len(ids))

    def groups(self) -> tuple[NearDuplicates, dict[int, int]]:
        """The near-duplicates, and the group number of each document."""
        near_duplicates = (
            self._sketches.find(self.similarity, MAX_STORED_PAIRS) if self._sketches else NearDuplicates([])
        )
        return near_duplicates, dict(zip(self.places, near_duplicates.group, strict=True))


def collect_candidates(project: Project, rules: Rules, texts: TextIndex) -> FreezeCandidates:
    """All gold labels with the result of the rules. Reads texts that ``texts`` does not have."""
    items = DatasetItem.objects.filter(dataset__project=project)
    silver = SilverItem.objects.filter(dataset__project=project)
    used = {*items.values_list("document_id", flat=True), *silver.values_list("document_id", flat=True)}
    held_out = set(items.filter(split=Split.HOLDOUT).values_list("document_id", flat=True).distinct())
    places = DocumentPlace.objects.filter(run__project=project, chosen=True, open=False)
    chosen = set(places.values_list("document_id", flat=True))
    rows = list(
        Gold.objects.current(project)
        .order_by("document_id")
        .values_list(
            "document_id",
            "document__external_id",
            "document__holdout",
            "document__state",
            "document__tags",
            "document__selection",
            "revision_id",
            origin_expression(),
            group_expression(rules.group_by),
            _class(rules.stratify),
        )
    )
    late = [row[0] for row in rows if row[0] not in texts.keys]
    if late:
        texts.read(project, no_progress, late)
    near_duplicates, groups = texts.groups()
    candidates = [
        splits.Candidate(
            pk,
            texts.keys[pk],
            # Membership is permanent, even without the mark.
            holdout or pk in held_out,
            origin,
            used=pk in used,
            duplicate_group=groups[pk],
            group=family or "",
            strata=tuple(tags) if rules.stratify == "tags" else ((value,) if value else ()),
            included=rules.matches(state=state, origin=origin, tags=tags),
            # Documents that a signal put to the front of the queue represent the project no better.
            targeted=selection == Selection.TARGETED or pk in chosen,
            external_id=external_id,
            revision_id=revision_id,
            tags=tags,
        )
        for pk, external_id, holdout, state, tags, selection, revision_id, origin, family, value in rows
    ]
    return FreezeCandidates(candidates, Gold.objects.outdated(project).count(), near_duplicates, texts.places)


def origin_expression() -> Case:
    """The origin of a gold label; a label of a generated document is always synthetic."""
    return Case(When(document__synthetic=True, then=Value(str(Origin.SYNTHETIC))), default="origin")


def _inside(column: str, path: Sequence[str]) -> Combinable:
    return Func(F(column), *map(Value, path), function="jsonb_extract_path_text", output_field=TextField())


def group_expression(group_by: str, prefix: str = "document__") -> Combinable:
    """The value to group by, as text. ``prefix``: the path to the document."""
    if group_by == "source":
        return F(f"{prefix}source")
    if group_by:
        return _inside(f"{prefix}metadata", [group_by.removeprefix("metadata.")])
    return Value("")


def _class(stratify: str) -> Combinable:
    if not stratify or stratify == "tags":
        return Value("")
    return _inside("revision__value", [str(step) for step in split(stratify)])


# -- preview -----------------------------------------------------------------------------------------------------------


@dataclass
class Preview:
    """Counts of a freeze, from the database. Splits and near-duplicates of the hold-out are only known after comparing
    the texts.

    ``documents``: included, of these ``held_out``. ``excluded``: by the rules. ``not_by_people``: hold-out documents
    that no person labeled without a pre-label. Without gold: ``set_aside`` are skipped or rejected, ``invalid`` have a
    label that is invalid under the current schema, ``without_gold`` are the rest. ``reserved``: hold-out documents in
    the queue. ``large``: names of large groups with their shares, where the hold-out is not drawn yet and the rules do
    not say what is done with them.
    """

    documents: int = 0
    held_out: int = 0
    invalid: int = 0
    excluded: int = 0
    not_by_people: int = 0
    set_aside: int = 0
    without_gold: int = 0
    reserved: int = 0
    # Not Counters: a template that asks one for ``items`` gets the count of "items".
    origins: dict[str, int] = field(default_factory=dict)
    holdout_origins: dict[str, int] = field(default_factory=dict)
    large: list[tuple[str, float]] = field(default_factory=list)

    def split_sizes(self, holdout_share: float, validation_share: float) -> dict[Split, int]:
        """About how many documents the hold-out and validation would have."""
        holdout = self.held_out or self.few_by_people or round(self.documents * holdout_share)
        return {Split.HOLDOUT: holdout, Split.VALIDATION: round((self.documents - holdout) * validation_share)}

    @property
    def few_by_people(self) -> int:
        """The size that the hold-out can have, where confirmed pre-labels leave it small; else 0."""
        people = sum(count for origin, count in self.origins.items() if origin in splits.HUMAN_ORIGINS)
        is_small = people < min(splits.MIN_HOLDOUT, self.documents - people)
        return people if is_small and not self.held_out else 0


def preview(*, project: Project, rules: Rules | None = None) -> Preview:
    """The counts of a freeze with these rules."""
    rules = rules or Rules()
    result = Preview()
    wanted = Case(When(_filter_condition(rules), then=True), default=False, output_field=BooleanField())
    rows = list(
        Gold.objects.current(project)
        .values_list("document__holdout", origin_expression(), wanted)
        .annotate(count=Count("pk"))
        .order_by()
    )
    clean = any(row[0] and row[1] in splits.HUMAN_ORIGINS for row in rows)
    for holdout, origin, fits, count in rows:
        if holdout and clean and origin not in splits.HUMAN_ORIGINS:
            result.not_by_people += count
        elif not holdout and not fits:
            result.excluded += count
        else:
            result.documents += count
            result.origins[origin] = result.origins.get(origin, 0) + count
            result.held_out += count if holdout else 0
            if holdout:
                result.holdout_origins[origin] = result.holdout_origins.get(origin, 0) + count
    states = Document.objects.filter(project=project).counts_by_state()
    result.set_aside = sum(states.get(state, 0) for state in EXCLUDED_STATES)
    result.invalid = Gold.objects.outdated(project).count()
    result.reserved = Document.objects.filter(project=project, holdout=True, state__in=QUEUE).count()
    with_gold = sum(row[-1] for row in rows)
    result.without_gold = sum(states.values()) - with_gold - result.set_aside - result.invalid
    if rules.group_by and not rules.large_families and not result.held_out:
        result.large = _large_groups(project, rules, result.documents)
    return result


def _large_groups(project: Project, rules: Rules, documents: int) -> list[tuple[str, float]]:
    rows: Any = Gold.objects.current(project).filter(_filter_condition(rules))
    rows = rows.annotate(group=group_expression(rules.group_by)).exclude(group=None).exclude(group="").order_by()
    counts = (
        rows.values_list("group")
        .annotate(count=Count("pk"))
        .order_by("-count", "group")[: round(1 / splits.LARGE_SHARE)]
    )
    return [(group, count / documents) for group, count in counts if splits.is_large(count, documents)]


def _filter_condition(rules: Rules) -> Q:
    """``Rules.matches`` as a condition on gold labels."""
    condition = Q(pk__isnull=False)
    if rules.states:
        condition &= Q(document__state__in=rules.states)
    if rules.origins:
        synthetic = Q(document__synthetic=True)
        real = Q(origin__in=rules.origins, document__synthetic=False)
        condition &= (real | synthetic) if Origin.SYNTHETIC in rules.origins else real
    if rules.tags:
        condition &= Q(document__tags__overlap=list(rules.tags))
    if rules.without_tags:
        condition &= ~Q(document__tags__overlap=list(rules.without_tags))
    return condition


# -- choices for the form ----------------------------------------------------------------------------------------------


def class_fields(compiled: CompiledSchema) -> list[tuple[str, str]]:
    """Pattern and title of the fields to stratify by: choices and booleans that occur once per document."""
    return [
        (field.pattern, field.title or field.name)
        for field in compiled.fields
        if (field.enum or field.type == "boolean") and "[]" not in field.pattern
    ]


def used_tags(project: Project) -> list[tuple[str, str]]:
    """Name and title of the failure tags that documents have. Each is found with one index lookup."""
    known = tags_of(project)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tag FROM unnest(%s::varchar[]) WITH ORDINALITY AS known(tag, number) WHERE EXISTS ("
            "SELECT 1 FROM labeling_document WHERE project_id = %s AND tags @> ARRAY[tag]) ORDER BY number",
            [list(known), project.pk],
        )
        return [(tag, known[tag].title) for (tag,) in cursor.fetchall()]


def has_prelabels(project: Project) -> bool:
    """Whether any document has or had a pre-label."""
    return Prediction.objects.filter(schema_version__project=project).exists()


def metadata_keys(project: Project, sample: int = 500) -> list[str]:
    """Metadata keys of the project's first and newest documents."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT key FROM (
                (SELECT metadata FROM labeling_document WHERE project_id = %(project)s ORDER BY id LIMIT %(limit)s)
                UNION ALL
                (SELECT metadata FROM labeling_document WHERE project_id = %(project)s ORDER BY id DESC LIMIT %(limit)s)
            ) AS seen, jsonb_object_keys(metadata) AS key ORDER BY key LIMIT 100
            """,
            {"project": project.pk, "limit": sample},
        )
        return [row[0] for row in cursor.fetchall()]
