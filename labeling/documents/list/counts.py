"""How many: exact up to a limit, beyond it about so many, and said so."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from django.db import connection

from labeling.documents.list.conditions import SQL, as_condition, conditions_of, joined, plain_of
from labeling.documents.list.filters import Filters
from labeling.documents.list.search import Page, TooSlow, within
from labeling.models import DocumentState, Gold, Project
from labeling.models.documents import LABELED_STATES

#: documents of one state that are counted one by one; in a project of more than twice as many; and those of one filter
EXACT, EXACT_OF_MANY, EXACT_OF_FILTER = 150_000, 10_000, 50_000
EXACT_IN_LIST = 50_000
#: documents with gold that are counted one by one
EXACT_GOLD = 20_000
#: documents that are all looked at where filters are not columns of the document alone
EXACT_BY_LOOKING = 2_000
#: documents looked at to say how frequent something is
SAMPLE = 150
_COUNT_MS = 40.0
_SAMPLE_MS = 30.0


@dataclass(frozen=True)
class Counted:
    """A count. ``about``: an estimate; ``more``: at least so many, and nobody knows how many more."""

    number: int
    about: bool = False
    more: bool = False

    def __str__(self) -> str:
        if self.more:
            return f"more than {self.number:,}"
        return f"about {self.number:,}" if self.about else f"{self.number:,}"


@dataclass(frozen=True)
class StateCounts:
    """Documents of a project per state. ``about``: the states whose number is an estimate."""

    states: dict[str, int]
    about: frozenset[str] = field(default_factory=frozenset)

    def get(self, *states: str) -> Counted:
        """Documents in any of these states."""
        return Counted(sum(self.states.get(state, 0) for state in states), bool(self.about.intersection(states)))

    @property
    def total(self) -> Counted:
        """All documents."""
        return self.get(*DocumentState.values)


def state_counts(project: Project) -> StateCounts:
    """Documents per state: counted in the index up to some 100,000; beyond that large states are estimated.

    Asked once per project object, because several panels and steps of a page need it.
    """
    found: StateCounts | None = getattr(project, "_state_counts", None)
    if found is None:
        found = _state_counts(project)
        project._state_counts = found  # type: ignore[attr-defined]
    return found


def gold_count(project: Project) -> Counted:
    """Documents with gold: counted up to ``EXACT_GOLD``; beyond that about as many as are approved, or labelled where
    reviews are off.

    Asked once per project object.
    """
    found: Counted | None = getattr(project, "_gold_count", None)
    if found is None:
        states = (DocumentState.APPROVED,) if project.review_required else LABELED_STATES
        expected = state_counts(project).get(*states).number
        if expected > EXACT_GOLD:
            # Counting goes to each document, which takes longer than a page may.
            found = Counted(_rounded(expected), about=True)
        else:
            found = Counted(Gold.objects.current(project).count())
        project._gold_count = found  # type: ignore[attr-defined]
    return found


def _state_counts(project: Project) -> StateCounts:
    # Where statistics say that it has many they need not be counted to see that.
    most = EXACT if _planned("d.project_id = %s", (project.pk,)) <= 2 * EXACT else EXACT_OF_MANY
    return _capped([project.pk], most)[project.pk]


def count_states(projects: Sequence[Project]) -> None:
    """The same for many projects in one query, so that ``state_counts`` asks nothing more; estimates begin earlier."""
    found = _capped([project.pk for project in projects], EXACT_IN_LIST)
    for project in projects:
        project._state_counts = found[project.pk]  # type: ignore[attr-defined]


def _capped(projects: Sequence[int], most: int) -> dict[int, StateCounts]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT p, s, n FROM unnest(%s::bigint[]) p, unnest(%s::varchar[]) s, LATERAL (SELECT count(*) AS n FROM "
            f"(SELECT 1 FROM labeling_document WHERE project_id = p AND state = s LIMIT {most + 1}) d) c WHERE n > 0",
            [list(projects), DocumentState.values],
        )
        states: dict[int, dict[str, int]] = {project: {} for project in projects}
        for project, state, number in cursor.fetchall():
            states[project][state] = number
    found = {}
    for project, counts in states.items():
        many = frozenset(state for state, number in counts.items() if number > most)
        for state in many:
            planned = _planned("d.project_id = %s AND d.state = %s", (project, state))
            counts[state] = max(counts[state], _rounded(planned))
        found[project] = StateCounts(counts, many)
    return found


def count(project: Project, filters: Filters, shown: Page | None = None) -> Counted:
    """How many documents fit. ``shown``: the page that was found for these filters, which may know it already."""
    if shown is not None and shown.total is not None:
        return Counted(shown.total)
    conditions = conditions_of(project, filters)
    if conditions:
        return _sampled(project, filters, shown)
    if not filters.active:
        return state_counts(project).total
    if replace(filters, state="", order="", errors=()) == Filters():
        return state_counts(project).get(filters.state)
    plain = plain_of(project, filters)
    try:
        with within(_COUNT_MS) as cursor:
            cursor.execute(
                "SELECT count(*) FROM (SELECT 1 FROM labeling_document d "
                f"WHERE {plain.where} LIMIT {EXACT_OF_FILTER + 1}) d",
                plain.params,
            )
            number = cursor.fetchone()[0]
    except TooSlow:
        return _sampled(project, filters, shown)
    if number <= EXACT_OF_FILTER:
        return Counted(number)
    return Counted(max(number, _rounded(_planned(plain.where, plain.params))), about=True)


def _planned(where: str, params: tuple[Any, ...]) -> int:
    """How many documents the planner expects from its statistics."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM labeling_document d WHERE {where}", params)
        plan = cursor.fetchone()[0]
    return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


def _sampled(project: Project, filters: Filters, shown: Page | None) -> Counted:
    """About how many fit, from documents drawn all over the project; "more than" where the draw found too few."""
    known = Counted(len(shown.ids) if shown else 0, more=True)
    if shown is not None and shown.unfinished:
        return known
    checks = [as_condition(plain_of(project, filters)), *conditions_of(project, filters)]
    total = _planned("d.project_id = %s", (project.pk,))
    if total <= EXACT_BY_LOOKING and (number := _looked_at_all(project, joined(checks, "w.id"))) is not None:
        return Counted(number)
    try:
        hits, looked_at = _draw(project, joined(checks, "w.id"))
    except TooSlow:
        return known
    if hits < 8:
        return known
    return Counted(max(known.number, _rounded(hits / looked_at * total, 1)), about=True)


def _looked_at_all(project: Project, checks: SQL) -> int | None:
    """How many of the first documents fit; None where the project has more, or they take too long."""
    where, params = checks
    try:
        with within(_COUNT_MS) as cursor:
            cursor.execute(
                f"SELECT count(*) FILTER (WHERE {where}), count(*) FROM (SELECT d.id FROM labeling_document d "
                f"WHERE d.project_id = %s LIMIT {EXACT_BY_LOOKING + 1}) w",
                [*params, project.pk],
            )
            fitting, looked_at = cursor.fetchone()
    except TooSlow:
        return None
    return int(fitting) if looked_at <= EXACT_BY_LOOKING else None


def _draw(project: Project, checks: SQL) -> tuple[int, int]:
    where, params = checks
    with within(_SAMPLE_MS) as cursor:
        cursor.execute("SELECT min(id), max(id) FROM labeling_document WHERE project_id = %s", [project.pk])
        low, high = cursor.fetchone()
        if low is None:
            return 0, 0
        # The same documents each time, so that a count does not flicker; one from each of equal stretches of ids.
        step, draw = (high - low + 1) / SAMPLE, Random(17)
        points = [low + int((number + draw.random()) * step) for number in range(SAMPLE)]
        cursor.execute(
            f"SELECT count(*) FILTER (WHERE {where}), count(*) FROM (SELECT (SELECT d.id FROM labeling_document d "
            "WHERE d.project_id = %s AND d.id >= x ORDER BY d.id LIMIT 1) AS id FROM unnest(%s::bigint[]) x) w "
            "WHERE w.id IS NOT NULL",
            [*params, project.pk, points],
        )
        hits, looked_at = cursor.fetchone()
    return int(hits), int(looked_at)


def _rounded(number: float, digits: int = 2) -> int:
    """A number with so many digits that mean something, for example 480000."""
    if number < 1:
        return 0
    step = 10 ** max(0, math.floor(math.log10(number)) - digits + 1)
    return int(round(number / step) * step)
