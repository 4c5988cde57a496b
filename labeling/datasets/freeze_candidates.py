"""What a freeze takes in: the labels that count, what the draw has to know of them, and a count of it ahead of time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Case, Count, F, Func, Q, Value, When
from django.db.models.expressions import Combinable
from django.db.models.fields import BooleanField, TextField

from labeling.datasets import splits
from labeling.datasets.near_duplicates import SHORT_SKETCH, SKETCH, Found, Sketches
from labeling.models import DatasetItem, Document, Gold, Origin, Project, Split
from labeling.models.annotations import ASIDE
from slmstudio.contract.schema.compiled import CompiledSchema, split

CHUNK = 500
KEPT_PAIRS = 5_000
#: texts from which on less is kept of each, so that memory stays below 2 KB a document
MANY = 50_000
#: tells a stage in words, how much of it is done, and of how much (0: not known)
Progress = Callable[[str, int, int], None]


def untold(stage: str, done: int, total: int) -> None:
    """The progress of what nobody watches."""


@dataclass(slots=True)
class Entry:
    """One label that can go in. ``tags`` are as they were when it was collected."""

    pk: int
    external_id: str
    revision_id: int
    origin: str
    tags: list[str]


@dataclass
class Collected:
    """What can go in, what the draw has to know of it, and how many labels of an earlier schema do not fit.

    ``found`` are the near-duplicates among all texts that were looked at; ``places`` are those texts' documents.
    """

    entries: list[Entry] = field(default_factory=list)
    candidates: list[splits.Candidate] = field(default_factory=list)
    unfit: int = 0
    found: Found = field(default_factory=lambda: Found([]))
    places: list[int] = field(default_factory=list)


class Texts:
    """Keys and groups of near-duplicates of a project's labelled texts; each text is read once."""

    def __init__(self, similarity: float) -> None:
        self.similarity = similarity
        self.keys: dict[int, bytes] = {}
        self.places: list[int] = []
        self._sketches: Sketches | None = None

    def read(self, project: Project, progress: Progress, only: Sequence[int] | None = None) -> None:
        """Reads the texts of what is labelled, or of ``only`` these documents."""
        rows = Document.objects.filter(project=project)
        gold: Any = Gold.objects.current(project).values("document")
        chosen = rows.filter(pk__in=gold if only is None else only)
        # Ids first: a query over the texts themselves would sort all of them.
        ids = list(chosen.order_by("pk").values_list("pk", flat=True))
        if self._sketches is None:
            self._sketches = Sketches(SHORT_SKETCH if len(ids) > MANY else SKETCH)
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            for pk, text in Document.objects.filter(pk__in=part).order_by("pk").values_list("pk", "text"):
                self.keys[pk] = splits.text_key(text)
                self.places.append(pk)
                self._sketches.add(text)
            progress("comparing texts", start + len(part), len(ids))

    def groups(self) -> tuple[Found, dict[int, int]]:
        """What was found, and the number of each document's group."""
        found = self._sketches.find(self.similarity, KEPT_PAIRS) if self._sketches else Found([])
        return found, dict(zip(self.places, found.group, strict=True))


def collect(project: Project, rules: splits.Rules, texts: Texts) -> Collected:
    """All gold, judged by the rules. Texts that ``texts`` does not have are read."""
    items = DatasetItem.objects.filter(dataset__project=project)
    used = set(items.values_list("document_id", flat=True).distinct())
    judged = set(items.filter(split=Split.HOLDOUT).values_list("document_id", flat=True).distinct())
    rows = list(
        Gold.objects.current(project)
        .order_by("document_id")
        .values_list(
            "document_id",
            "document__external_id",
            "document__holdout",
            "document__state",
            "document__tags",
            "revision_id",
            origin_of(),
            family_of(rules.group_by),
            _class(rules.stratify),
        )
    )
    late = [row[0] for row in rows if row[0] not in texts.keys]
    if late:
        texts.read(project, untold, late)
    found, groups = texts.groups()
    result = Collected(unfit=Gold.objects.outdated(project).count(), found=found, places=texts.places)
    for pk, external_id, holdout, state, tags, revision_id, origin, family, value in rows:
        result.entries.append(Entry(pk, external_id, revision_id, origin, tags))
        result.candidates.append(
            splits.Candidate(
                pk,
                texts.keys[pk],
                # Fixed once it was used, whatever became of the mark.
                holdout or pk in judged,
                origin,
                used=pk in used,
                alike=groups[pk],
                family=family or "",
                strata=tuple(tags) if rules.stratify == "tags" else ((value,) if value else ()),
                wanted=rules.want(state=state, origin=origin, tags=tags),
            )
        )
    return result


def origin_of() -> Case:
    """Where the gold comes from; a generated document stays synthetic whoever labelled it."""
    return Case(When(document__synthetic=True, then=Value(str(Origin.SYNTHETIC))), default="origin")


def _inside(column: str, path: Sequence[str]) -> Combinable:
    return Func(F(column), *map(Value, path), function="jsonb_extract_path_text", output_field=TextField())


def family_of(group_by: str) -> Combinable:
    """What the rule groups by, as a text."""
    if group_by == "source":
        return F("document__source")
    if group_by:
        return _inside("document__metadata", [group_by.removeprefix("metadata.")])
    return Value("")


def _class(stratify: str) -> Combinable:
    if not stratify or stratify == "tags":
        return Value("")
    return _inside("revision__value", [str(step) for step in split(stratify)])


# -- ahead of time -----------------------------------------------------------------------------------------------------


@dataclass
class Preview:
    """What a freeze would take in, counted by the database: what the splits are, and which labels are nearly the same
    as a hold-out document, is only known once the texts were compared.

    ``documents`` can go in, of these ``held_out``; ``unwanted`` are left out by the rules, ``not_by_people`` because
    they are held out and no person labelled them unaided. Of the documents without gold, ``set_aside`` are skipped or
    rejected, ``unfit`` have a label of an earlier schema that is invalid under the present one, ``without`` are the
    rest.
    """

    documents: int = 0
    held_out: int = 0
    unfit: int = 0
    unwanted: int = 0
    not_by_people: int = 0
    set_aside: int = 0
    without: int = 0
    # Not Counters: a template that asks one for ``items`` gets the count of "items".
    origins: dict[str, int] = field(default_factory=dict)
    holdout_origins: dict[str, int] = field(default_factory=dict)


def preview(*, project: Project, rules: splits.Rules | None = None) -> Preview:
    """What ``freeze`` would take in right now under these rules."""
    result = Preview()
    wanted = Case(When(_wanted(rules or splits.Rules()), then=True), default=False, output_field=BooleanField())
    rows = list(
        Gold.objects.current(project)
        .values_list("document__holdout", origin_of(), wanted)
        .annotate(count=Count("pk"))
        .order_by()
    )
    clean = any(row[0] and row[1] in splits.PEOPLE_MADE for row in rows)
    for holdout, origin, fits, count in rows:
        if holdout and clean and origin not in splits.PEOPLE_MADE:
            result.not_by_people += count
        elif not holdout and not fits:
            result.unwanted += count
        else:
            result.documents += count
            result.origins[origin] = result.origins.get(origin, 0) + count
            result.held_out += count if holdout else 0
            if holdout:
                result.holdout_origins[origin] = result.holdout_origins.get(origin, 0) + count
    states = Document.objects.filter(project=project).counts_by_state()
    result.set_aside = sum(states.get(state, 0) for state in ASIDE)
    result.unfit = Gold.objects.outdated(project).count()
    with_gold = sum(row[-1] for row in rows)
    result.without = sum(states.values()) - with_gold - result.set_aside - result.unfit
    return result


def _wanted(rules: splits.Rules) -> Q:
    """``splits.Rules.want`` as a condition on gold."""
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
    """Pattern and title of the fields a draw can be spread over: choices and yes or no, once per document."""
    return [
        (one.pattern, one.title or one.name)
        for one in compiled.fields
        if (one.enum or one.type == "boolean") and "[]" not in one.pattern
    ]


def metadata_keys(project: Project, looked_at: int = 500) -> list[str]:
    """Names that the metadata of the project's documents has, seen in the first and the newest of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT key FROM (
                (SELECT metadata FROM labeling_document WHERE project_id = %(project)s ORDER BY id LIMIT %(most)s)
                UNION ALL
                (SELECT metadata FROM labeling_document WHERE project_id = %(project)s ORDER BY id DESC LIMIT %(most)s)
            ) AS seen, jsonb_object_keys(metadata) AS key ORDER BY key LIMIT 100
            """,
            {"project": project.pk, "most": looked_at},
        )
        return [row[0] for row in cursor.fetchall()]
