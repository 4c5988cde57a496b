"""Counts of documents: exact up to a limit, estimated and marked as such above it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from django.db import connection

from labeling.documents.list.conditions import SQL, all_checks, as_condition, column_filter, conditions_of
from labeling.documents.list.filters import Filters
from labeling.documents.list.search import Page
from labeling.models import DocumentState, Gold, Project
from labeling.models.documents import LABELED_STATES, QUEUE
from slmstudio.database.transactions import StatementTimeout, statement_timeout
from slmstudio.web.paging import ApproximateCount

#: counted exactly: documents of a state, of a state in a project with more than twice as many, and of a filter
EXACT, EXACT_OF_MANY, EXACT_OF_FILTER = 150_000, 10_000, 50_000
EXACT_IN_LIST = 50_000
#: gold labels that are counted exactly
EXACT_GOLD = 20_000
#: size of a project that is scanned for filters that are not columns of the document
EXACT_SCAN_LIMIT = 2_000
#: of an estimate
SAMPLE = 150
_COUNT_MS = 40.0
_SAMPLE_MS = 30.0


@dataclass(frozen=True)
class StateCounts:
    """Documents of a project per state. ``estimated`` are the states whose count is an estimate."""

    states: dict[str, int]
    estimated: frozenset[str] = field(default_factory=frozenset)

    def get(self, *states: str) -> ApproximateCount:
        """Documents in any of these states."""
        return ApproximateCount(
            sum(self.states.get(state, 0) for state in states), bool(self.estimated.intersection(states))
        )

    @property
    def labeled(self) -> ApproximateCount:
        """Documents with a submitted or approved label."""
        return self.get(DocumentState.SUBMITTED, DocumentState.APPROVED)

    @property
    def queued(self) -> ApproximateCount:
        """Documents in the queue."""
        return self.get(*QUEUE)

    @property
    def total(self) -> ApproximateCount:
        """All documents."""
        return self.get(*DocumentState.values)


def state_counts(project: Project) -> StateCounts:
    """Documents per state; large states of large projects are estimated. Cached on the project object."""
    counts: StateCounts | None = getattr(project, "_state_counts", None)
    if counts is None:
        counts = _state_counts(project)
        project._state_counts = counts  # type: ignore[attr-defined]
    return counts


def gold_count(project: Project) -> ApproximateCount:
    """Gold labels: counted up to ``EXACT_GOLD``, above it estimated by the approved or labeled documents.

    Cached on the project object.
    """
    count: ApproximateCount | None = getattr(project, "_gold_count", None)
    if count is None:
        states = (DocumentState.APPROVED,) if project.review_required else LABELED_STATES
        expected = state_counts(project).get(*states).number
        if expected > EXACT_GOLD:
            # Counting reads every document, which is too slow for a page.
            count = ApproximateCount(_round(expected), is_estimate=True)
        else:
            count = ApproximateCount(Gold.objects.current(project).count())
        project._gold_count = count  # type: ignore[attr-defined]
    return count


def _state_counts(project: Project) -> StateCounts:
    # The statistics tell whether the project is large without counting.
    limit = EXACT if _planner_estimate("d.project_id = %s", (project.pk,)) <= 2 * EXACT else EXACT_OF_MANY
    return _count_up_to([project.pk], limit)[project.pk]


def count_states(projects: Sequence[Project]) -> None:
    """Caches ``state_counts`` of several projects with one query; estimates begin at a lower count."""
    by_project = _count_up_to([project.pk for project in projects], EXACT_IN_LIST)
    for project in projects:
        project._state_counts = by_project[project.pk]  # type: ignore[attr-defined]


def _count_up_to(projects: Sequence[int], limit: int) -> dict[int, StateCounts]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p, s, n FROM unnest(%s::bigint[]) p, unnest(%s::varchar[]) s, LATERAL (SELECT count(*) AS n FROM "
            f"(SELECT 1 FROM labeling_document WHERE project_id = p AND state = s LIMIT {limit + 1}) d) c WHERE n > 0",
            [list(projects), DocumentState.values],
        )
        states: dict[int, dict[str, int]] = {project: {} for project in projects}
        for project, state, number in cursor.fetchall():
            states[project][state] = number
    by_project = {}
    for project, counts in states.items():
        many = frozenset(state for state, number in counts.items() if number > limit)
        for state in many:
            planned = _planner_estimate("d.project_id = %s AND d.state = %s", (project, state))
            counts[state] = max(counts[state], _round(planned))
        by_project[project] = StateCounts(counts, many)
    return by_project


def count(project: Project, filters: Filters, shown: Page | None = None) -> ApproximateCount:
    """The number of matching documents. ``shown`` is the page of these filters, which may know it."""
    if shown is not None and shown.total is not None:
        return ApproximateCount(shown.total)
    conditions = conditions_of(project, filters)
    if conditions:
        return _sample_estimate(project, filters, shown)
    if not filters.active:
        return state_counts(project).total
    if replace(filters, state="", order="", errors=()) == Filters():
        return state_counts(project).get(filters.state)
    where, params = column_filter(project, filters)
    try:
        with statement_timeout(_COUNT_MS) as cursor:
            cursor.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM labeling_document d WHERE {where} LIMIT {EXACT_OF_FILTER + 1}) d",
                params,
            )
            number = cursor.fetchone()[0]
    except StatementTimeout:
        return _sample_estimate(project, filters, shown)
    if number <= EXACT_OF_FILTER:
        return ApproximateCount(number)
    return ApproximateCount(max(number, _round(_planner_estimate(where, params))), is_estimate=True)


def _planner_estimate(where: str, params: tuple[Any, ...]) -> int:
    """The number of documents that the planner expects."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM labeling_document d WHERE {where}", params)
        plan = cursor.fetchone()[0]
    return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


def _sample_estimate(project: Project, filters: Filters, shown: Page | None) -> ApproximateCount:
    """An estimate from a sample of documents; a lower bound if the sample has too few matches."""
    known = ApproximateCount(len(shown.ids) if shown else 0, is_lower_bound=True)
    if shown is not None and shown.unfinished:
        return known
    checks = [as_condition(column_filter(project, filters)), *conditions_of(project, filters)]
    total = _planner_estimate("d.project_id = %s", (project.pk,))
    if total <= EXACT_SCAN_LIMIT and (number := _scan_count(project, all_checks(checks, "w.id"))) is not None:
        return ApproximateCount(number)
    try:
        hits, scanned = _draw(project, all_checks(checks, "w.id"))
    except StatementTimeout:
        return known
    if hits < 8:
        return known
    return ApproximateCount(max(known.number, _round(hits / scanned * total, 1)), is_estimate=True)


def _scan_count(project: Project, checks: SQL) -> int | None:
    """The number of matches in a small project; None if the project is larger or the scan too slow."""
    where, params = checks
    try:
        with statement_timeout(_COUNT_MS) as cursor:
            cursor.execute(
                f"SELECT count(*) FILTER (WHERE {where}), count(*) FROM (SELECT d.id FROM labeling_document d "
                f"WHERE d.project_id = %s LIMIT {EXACT_SCAN_LIMIT + 1}) w",
                [*params, project.pk],
            )
            matches, scanned = cursor.fetchone()
    except StatementTimeout:
        return None
    return int(matches) if scanned <= EXACT_SCAN_LIMIT else None


def _draw(project: Project, checks: SQL) -> tuple[int, int]:
    where, params = checks
    with statement_timeout(_SAMPLE_MS) as cursor:
        cursor.execute("SELECT min(id), max(id) FROM labeling_document WHERE project_id = %s", [project.pk])
        low, high = cursor.fetchone()
        if low is None:
            return 0, 0
        # A fixed seed, so a count does not flicker; one document from each of equal ranges of ids.
        step, draw = (high - low + 1) / SAMPLE, Random(17)
        points = [low + int((number + draw.random()) * step) for number in range(SAMPLE)]
        cursor.execute(
            f"SELECT count(*) FILTER (WHERE {where}), count(*) FROM (SELECT (SELECT d.id FROM labeling_document d "
            "WHERE d.project_id = %s AND d.id >= x ORDER BY d.id LIMIT 1) AS id FROM unnest(%s::bigint[]) x) w "
            "WHERE w.id IS NOT NULL",
            [*params, project.pk, points],
        )
        hits, scanned = cursor.fetchone()
    return int(hits), int(scanned)


def _round(number: float, digits: int = 2) -> int:
    """A number with this many significant digits, for example 480000."""
    if number < 1:
        return 0
    step = 10 ** max(0, math.floor(math.log10(number)) - digits + 1)
    return int(round(number / step) * step)
