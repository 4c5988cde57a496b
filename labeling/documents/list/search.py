"""Finds a page of documents in a bounded time, whatever is asked for; names all that fit.

Nobody knows beforehand how many documents hold a text or a value. So it is asked twice: the first documents of the
order are looked at one by one, which finds at once what is frequent; then the index is asked for all that fit, which
finds at once what is rare. What is neither (a phrase of frequent words that never stand together, say) is looked for on
from there until the time is up; the page then says how far it came, and its "search on" starts behind that place.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL
from psycopg.errors import QueryCanceled

from labeling.documents.list.conditions import Condition, Plain, as_condition, conditions_of, joined, plain_of
from labeling.documents.list.filters import Filters
from labeling.documents.list.orders import Order, Place, order_of, read_place, write_place
from labeling.models import Document, Project

SIZE = 30
#: documents that are looked at one by one before the index is asked
FIRST = 300
#: what the index finds is rare up to this many documents; while searching on it may be this much more
RARE, RARE_PATIENT = 500, 100_000
#: ids that the index is asked for at a time where something is neither frequent nor rare
WINDOW = 30_000
#: milliseconds for a page, and of them for asking the index
BUDGET_MS = 70.0
INDEX_MS = 45.0
#: milliseconds for a page whose search is gone on with
PATIENT_MS = 1_500.0
_FEWER = (20, 1)
_BOTH_INDEXES = {"enable_indexscan": "off", "enable_seqscan": "off", "random_page_cost": 100, "seq_page_cost": 100}


class TooSlow(Exception):
    """A statement was stopped at its limit."""


@dataclass(frozen=True)
class Page:
    """A page of ids in order. ``before`` and ``after``: places that lead to the neighbours, "" at an end.

    ``unfinished``: the time was up before the page was full; ``after`` (``before`` backwards) then goes on from the
    last document looked at. ``total``: how many documents fit, where the search came to know it.
    """

    ids: list[int]
    before: str = ""
    after: str = ""
    unfinished: bool = False
    total: int | None = None


def page(
    *,
    project: Project,
    filters: Filters,
    after: str = "",
    before: str = "",
    size: int = SIZE,
    patient: bool = False,
) -> Page:
    """The documents that fit, behind the place ``after`` or in front of ``before``, or the first ones.

    A place that is none of this order is ignored. ``patient``: may take a second and a half.
    """
    order = order_of(filters.order)
    start = read_place(before, filters.order) if before else None
    backwards = start is not None
    if start is None and after:
        start = read_place(after, filters.order)
    search = _Search(
        project,
        order.reversed() if backwards else order,
        plain_of(project, filters),
        conditions_of(project, filters),
        PATIENT_MS if patient else BUDGET_MS,
        patient=patient,
    )
    search.run(start, size + 1)
    more = len(search.found) > size or search.stopped_at is not None
    found = search.found[:size]
    reached = found[-1] if len(search.found) > size else search.stopped_at
    onwards = write_place(reached) if more and reached is not None else ""
    back = write_place(found[0]) if found and start is not None else ""
    if not found and start is not None:
        back = write_place(start)
    ids = [pk for _, pk in found]
    unfinished = search.stopped_at is not None and len(search.found) <= size
    if backwards:
        ids.reverse()
        return Page(ids, onwards, back, unfinished, search.total)
    if search.total is None and not more and start is None:
        search.total = len(found)
    return Page(ids, back, onwards, unfinished, search.total)


def matching(project: Project, filters: Filters) -> QuerySet[Document]:
    """All documents that fit, in no order; the set-wise form of the same filters, for jobs and counts."""
    rows: QuerySet[Document] = Document.objects.filter(project=project)
    if not filters.active:
        return rows
    plain, conditions = plain_of(project, filters), conditions_of(project, filters)
    sql = f"SELECT d.id FROM labeling_document d WHERE {plain.where}"
    params = list(plain.params)
    for condition in conditions:
        sql += f" AND d.id IN ({condition.candidates})"
        params += condition.candidates_params
    return rows.filter(pk__in=RawSQL(sql, params))


@contextmanager
def within(milliseconds: float, *, by_index: bool = False) -> Iterator[Any]:
    """A cursor whose statements are stopped after this time, each. ``by_index``: they read no table from end to end
    where an index can help; the planner takes a comparison of long texts for as cheap as one of numbers.

    Raises:
        TooSlow: one was stopped.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # To start helpers takes longer than what is looked for here.
            cursor.execute(
                f"SET LOCAL statement_timeout TO {max(1, round(milliseconds))}; "
                "SET LOCAL max_parallel_workers_per_gather TO 0"
                + ("; SET LOCAL enable_seqscan TO off" if by_index else "")
            )
            yield cursor
            # In a transaction of the caller's the limit would outlive this block.
            cursor.execute(
                "SET LOCAL statement_timeout TO DEFAULT; SET LOCAL max_parallel_workers_per_gather TO DEFAULT"
                + ("; SET LOCAL enable_seqscan TO DEFAULT" if by_index else "")
            )
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooSlow from error
        raise


@dataclass
class _Search:
    """One search. ``found``: places of what fits, in order; ``stopped_at``: the last place looked at, where time was
    up or nothing more was wanted; None at the end of the documents.
    """

    project: Project
    order: Order
    plain: Plain
    conditions: list[Condition]
    budget: float
    found: list[Place] = field(default_factory=list)
    stopped_at: Place | None = None
    total: int | None = None
    patient: bool = False
    _plain_in_source: bool = True

    def run(self, start: Place | None, wanted: int) -> None:
        """Fills ``found`` with up to ``wanted`` places."""
        self._end = time.monotonic() + self.budget / 1000
        self._plain_in_source = not self.order.key
        if not self.conditions and self._plain_in_source and self._directly(start, wanted):
            return
        if not self._plain_in_source:
            self._check_plain()
        began = time.monotonic()
        place, ended = self._look(start, FIRST, wanted)
        if ended or len(self.found) >= wanted:
            return
        rate = FIRST / max(time.monotonic() - began, 1e-4)
        known = self._by_index(start, wanted)
        if known is None:
            return
        if known and not self.order.key:
            place = self._by_windows(known, place, wanted)
            if place is None:
                return
        while (left := self._end - time.monotonic()) > 0.004:
            count = max(FIRST, int(rate * left * 0.6))
            began = time.monotonic()
            place, ended = self._look(place, count, wanted)
            if ended or len(self.found) >= wanted:
                return
            rate = count / max(time.monotonic() - began, 1e-4)
        self.stopped_at = place

    def _left(self) -> float:
        """Milliseconds left, at least a few: what was begun is worth a moment more."""
        return max(8.0, (self._end - time.monotonic()) * 1000)

    def _check_plain(self) -> None:
        self._plain_in_source = False
        if self.plain.params != (self.project.pk,):
            self.conditions = [*self.conditions, as_condition(self.plain)]

    def _source(self, place: Place | None) -> tuple[str, list[Any]]:
        source, params = self.order.source(self.project, self.plain if self._plain_in_source else None)
        behind, more = self.order.behind(place)
        return f"{source} AND {behind}", [*params, *more]

    def _directly(self, start: Place | None, wanted: int) -> bool:
        """The page from an index of documents alone; False where the filters fit none and it took too long."""
        source, params = self._source(start)
        sql = f"SELECT {self.order.columns} FROM {source} ORDER BY {self.order.by('key', 'id')} LIMIT {wanted}"
        try:
            with within(INDEX_MS * self.budget / BUDGET_MS) as cursor:
                cursor.execute(sql, params)
                self.found = cursor.fetchall()
        except TooSlow:
            self._check_plain()
            return False
        return True

    def _look(self, place: Place | None, count: int, wanted: int) -> tuple[Place | None, bool]:
        """Looks at the next ``count`` rows one by one. The last place looked at, and whether that was the end.

        Where that takes too long the plain filters are taken out of the window (they may fit nothing far and wide), and
        then fewer rows are looked at (they may be very long).
        """
        narrowed = self._plain_in_source and self.plain.params != (self.project.pk,)
        tries = [count, count, *_FEWER] if narrowed else [count, *_FEWER]
        for number, rows in enumerate(tries):
            last = number == len(tries) - 1
            try:
                return self._window(place, rows, wanted, PATIENT_MS if last else self._left() + 10)
            except TooSlow:
                if last:
                    raise
                self._end = min(self._end, time.monotonic())
                if self._plain_in_source and narrowed:
                    self._check_plain()
        raise AssertionError("unreachable")

    def _window(self, place: Place | None, count: int, wanted: int, milliseconds: float) -> tuple[Place | None, bool]:
        source, params = self._source(place)
        window = f"SELECT {self.order.columns} FROM {source} ORDER BY {self.order.by('key', 'id')}"
        checks, check_params = joined(self.conditions, "w.id")
        with within(milliseconds) as cursor:
            cursor.execute(
                f"SELECT w.key, w.id FROM ({window} LIMIT {count}) w WHERE {checks} "
                f"ORDER BY {self.order.by('w.key', 'w.id')} LIMIT {wanted - len(self.found)}",
                [*params, *check_params],
            )
            found = cursor.fetchall()
            last = None
            if len(self.found) + len(found) < wanted:
                cursor.execute(f"{window} OFFSET {count - 1} LIMIT 1", params)
                last = cursor.fetchone()
        self.found += found
        return last, last is None

    def _by_index(self, start: Place | None, wanted: int) -> Condition | Literal[False] | None:
        """All that fit, where an index says that they are few: None, it is done. Else a condition whose index is quick
        but finds many; False where none is quick.
        """
        many: Condition | Literal[False] = False
        rare = RARE_PATIENT if self.patient else RARE
        for condition in self.conditions:
            if not condition.indexed:
                continue
            candidates = condition.rare or condition.candidates
            try:
                with within(min(INDEX_MS * self.budget / BUDGET_MS, self._left()), by_index=True) as cursor:
                    cursor.execute(
                        f"SELECT ARRAY(SELECT c.id FROM ({candidates}) c(id) LIMIT {rare + 1})",
                        condition.candidates_params,
                    )
                    ids = cursor.fetchone()[0]
                    if len(ids) <= rare:
                        places = self._sorted(cursor, ids, condition)
                        self.total = len(places)
                        self.found = self._behind(places, start)[:wanted]
                        return None
                many = many or condition
            except TooSlow:
                continue
        return many

    def _by_windows(self, known: Condition, place: Place | None, wanted: int) -> Place | None:
        """What fits in the next stretches of ids, each asked of an index. The last place that was covered, where time
        is up; None where it is done.
        """
        with connection.cursor() as cursor:
            cursor.execute("SELECT min(id), max(id) FROM labeling_document WHERE project_id = %s", [self.project.pk])
            first, last = cursor.fetchone()
        here = place[1] if place else (last + 1 if self.order.descending else first - 1)
        while self._end - time.monotonic() > 0.01:
            low, high = (here - WINDOW, here) if self.order.descending else (here + 1, here + WINDOW + 1)
            try:
                with within(self._left()) as cursor:
                    # The planner takes every text for a rare one, and would read all rows that hold it, or all of the
                    # stretch. Like this it puts both indexes together before it reads a row.
                    cursor.execute("; ".join(f"SET LOCAL {name} TO {value}" for name, value in _BOTH_INDEXES.items()))
                    cursor.execute(
                        f"SELECT ARRAY(SELECT c.id FROM ({known.candidates}) c(id) "
                        f"WHERE c.id >= %s AND c.id < %s LIMIT {RARE_PATIENT})",
                        [*known.candidates_params, low, high],
                    )
                    ids = cursor.fetchone()[0]
                    cursor.execute("; ".join(f"SET LOCAL {name} TO DEFAULT" for name in _BOTH_INDEXES))
                    self.found += self._behind(self._sorted(cursor, ids, known), place)[: wanted - len(self.found)]
            except TooSlow:
                break
            here = low if self.order.descending else high - 1
            if len(self.found) >= wanted or (here <= first if self.order.descending else here >= last):
                return None
        return None, here

    def _sorted(self, cursor: Any, ids: list[int], known: Condition) -> list[Place]:
        """The places of those among ``ids`` that fit all else, in order."""
        source, params = self._source(None)
        others = [condition for condition in self.conditions if condition is not known]
        checks, check_params = joined(others, "w.id")
        cursor.execute(
            f"SELECT w.key, w.id FROM (SELECT {self.order.columns} FROM {source} AND {self.order.id} = ANY(%s)) w "
            f"WHERE {checks}",
            [*params, sorted(set(ids)), *check_params],
        )
        return sorted(cursor.fetchall(), key=self.order.sorts, reverse=self.order.descending)

    def _behind(self, places: list[Place], start: Place | None) -> list[Place]:
        if start is None:
            return places
        first = self.order.sorts(start)
        if self.order.descending:
            return [place for place in places if self.order.sorts(place) < first]
        return [place for place in places if self.order.sorts(place) > first]
