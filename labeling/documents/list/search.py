"""Searches the document list for a page, within a time budget.

It is unknown how many documents contain a text or a value. So there are two steps:

1. Scan the first rows of the order and check each. This finds frequent matches fast.
2. Query an index for all matches. This finds rare matches fast.

If neither is enough (a phrase of frequent words that rarely occur together), the scan continues until the budget is
spent. The page is then ``unfinished``, and its next page starts where the scan ended.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import connection
from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from labeling.documents.list.conditions import (
    SQL,
    Condition,
    all_checks,
    as_condition,
    column_filter,
    conditions_of,
)
from labeling.documents.list.filters import Filters
from labeling.documents.list.orders import Order, Position, decode_position, encode_position, order_of
from labeling.models import Document, Project
from slmstudio.database.transactions import StatementTimeout, statement_timeout

PAGE_SIZE = 30
#: scanned before an index is used
SCAN_ROWS = 300
#: matches of an index up to which a filter is rare, and those in an extended search
MAX_RARE, MAX_RARE_EXTENDED = 500, 100_000
#: range of ids of one index query where a filter is neither frequent nor rare
WINDOW_IDS = 30_000
#: milliseconds for a page, and of them for index queries
BUDGET_MS = 70.0
INDEX_BUDGET_MS = 45.0
#: milliseconds for a page of an extended search
EXTENDED_BUDGET_MS = 1_500.0
_RETRY_ROWS = (20, 1)
_BOTH_INDEXES = {"enable_indexscan": "off", "enable_seqscan": "off", "random_page_cost": 100, "seq_page_cost": 100}


@dataclass(frozen=True)
class Page:
    """A page of ids in order. ``before`` and ``after`` are the positions of the neighboring pages, "" at an end.

    ``unfinished``: the budget was spent before the page was full; ``after`` (``before`` if backwards) continues at the
    last scanned document. ``total`` is the number of matches if the search found it.
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
    size: int = PAGE_SIZE,
    extended: bool = False,
) -> Page:
    """The matching documents after or before a position, or the first ones.

    A position of another order is ignored. ``extended``: with a budget of 1.5 seconds.
    """
    order = order_of(filters.order)
    start = decode_position(before, filters.order) if before else None
    backwards = start is not None
    if start is None and after:
        start = decode_position(after, filters.order)
    search = _Search(
        project,
        order.reversed() if backwards else order,
        column_filter(project, filters),
        conditions_of(project, filters),
        EXTENDED_BUDGET_MS if extended else BUDGET_MS,
        extended=extended,
    )
    search.run(start, size + 1)
    more = len(search.matches) > size or search.scanned_to is not None
    positions = search.matches[:size]
    reached = positions[-1] if len(search.matches) > size else search.scanned_to
    forward = encode_position(reached) if more and reached is not None else ""
    back = encode_position(positions[0]) if positions and start is not None else ""
    if not positions and start is not None:
        back = encode_position(start)
    ids = [pk for _, pk in positions]
    unfinished = search.scanned_to is not None and len(search.matches) <= size
    if backwards:
        ids.reverse()
        return Page(ids, forward, back, unfinished, search.total)
    if search.total is None and not more and start is None:
        search.total = len(positions)
    return Page(ids, back, forward, unfinished, search.total)


def matching_documents(project: Project, filters: Filters) -> QuerySet[Document]:
    """All matching documents, unordered, for jobs and counts."""
    rows: QuerySet[Document] = Document.objects.filter(project=project)
    if not filters.active:
        return rows
    columns, conditions = column_filter(project, filters), conditions_of(project, filters)
    where, values = columns
    sql = f"SELECT d.id FROM labeling_document d WHERE {where}"
    params = list(values)
    for condition in conditions:
        sql += f" AND d.id IN ({condition.candidates})"
        params += condition.candidates_params
    return rows.filter(pk__in=RawSQL(sql, params))


@dataclass
class _Search:
    """One search. ``matches`` are the positions of matches, in order; ``scanned_to`` is the last scanned position if
    the budget was spent or the page is full, None at the end of the documents.
    """

    project: Project
    order: Order
    columns: SQL
    conditions: list[Condition]
    budget: float
    matches: list[Position] = field(default_factory=list)
    scanned_to: Position | None = None
    total: int | None = None
    extended: bool = False
    _columns_in_source: bool = True

    def run(self, start: Position | None, limit: int) -> None:
        """Fills ``matches`` with up to ``limit`` positions."""
        self._end = time.monotonic() + self.budget / 1000
        self._columns_in_source = not self.order.key
        if not self.conditions and self._columns_in_source and self._from_document_index(start, limit):
            return
        if not self._columns_in_source:
            self._check_columns_by_row()
        began = time.monotonic()
        position, ended = self._scan_rows(start, SCAN_ROWS, limit)
        if ended or len(self.matches) >= limit:
            return
        rate = SCAN_ROWS / max(time.monotonic() - began, 1e-4)
        known = self._by_index(start, limit)
        if known is None:
            return
        if known and not self.order.key:
            position = self._by_id_windows(known, position, limit)
            if position is None:
                return
        while (left := self._end - time.monotonic()) > 0.004:
            count = max(SCAN_ROWS, int(rate * left * 0.6))
            began = time.monotonic()
            position, ended = self._scan_rows(position, count, limit)
            if ended or len(self.matches) >= limit:
                return
            rate = count / max(time.monotonic() - began, 1e-4)
        self.scanned_to = position

    def _remaining_ms(self) -> float:
        """Milliseconds of the budget that remain, at least 8 to finish what was started."""
        return max(8.0, (self._end - time.monotonic()) * 1000)

    def _check_columns_by_row(self) -> None:
        self._columns_in_source = False
        if self.columns[1] != (self.project.pk,):
            self.conditions = [*self.conditions, as_condition(self.columns)]

    def _source(self, position: Position | None) -> tuple[str, list[Any]]:
        source, params = self.order.source(self.project, self.columns if self._columns_in_source else None)
        after, params_after = self.order.after(position)
        return f"{source} AND {after}", [*params, *params_after]

    def _from_document_index(self, start: Position | None, limit: int) -> bool:
        """Finds the page with an index of documents only; False if it took too long (no matches)."""
        source, params = self._source(start)
        sql = f"SELECT {self.order.columns} FROM {source} ORDER BY {self.order.by('key', 'id')} LIMIT {limit}"
        try:
            with statement_timeout(INDEX_BUDGET_MS * self.budget / BUDGET_MS) as cursor:
                cursor.execute(sql, params)
                self.matches = cursor.fetchall()
        except StatementTimeout:
            self._check_columns_by_row()
            return False
        return True

    def _scan_rows(self, position: Position | None, count: int, limit: int) -> tuple[Position | None, bool]:
        """Scans the next ``count`` rows. Returns the last position, and whether it is the end.

        If that takes too long, the column filter is checked by row (it can match nothing in a large range), then fewer
        rows are scanned (their texts can be long).
        """
        narrowed = self._columns_in_source and self.columns[1] != (self.project.pk,)
        tries = [count, count, *_RETRY_ROWS] if narrowed else [count, *_RETRY_ROWS]
        for number, rows in enumerate(tries):
            last = number == len(tries) - 1
            try:
                return self._scan_window(
                    position, rows, limit, EXTENDED_BUDGET_MS if last else self._remaining_ms() + 10
                )
            except StatementTimeout:
                if last:
                    raise
                self._end = min(self._end, time.monotonic())
                if self._columns_in_source and narrowed:
                    self._check_columns_by_row()
        raise AssertionError("unreachable")

    def _scan_window(
        self, position: Position | None, count: int, limit: int, milliseconds: float
    ) -> tuple[Position | None, bool]:
        source, params = self._source(position)
        window = f"SELECT {self.order.columns} FROM {source} ORDER BY {self.order.by('key', 'id')}"
        checks, check_params = all_checks(self.conditions, "w.id")
        with statement_timeout(milliseconds) as cursor:
            cursor.execute(
                f"SELECT w.key, w.id FROM ({window} LIMIT {count}) w WHERE {checks} "
                f"ORDER BY {self.order.by('w.key', 'w.id')} LIMIT {limit - len(self.matches)}",
                [*params, *check_params],
            )
            rows = cursor.fetchall()
            last = None
            if len(self.matches) + len(rows) < limit:
                cursor.execute(f"{window} OFFSET {count - 1} LIMIT 1", params)
                last = cursor.fetchone()
        self.matches += rows
        return last, last is None

    def _by_index(self, start: Position | None, limit: int) -> Condition | Literal[False] | None:
        """Finds all matches with an index if they are few, and returns None. Otherwise returns a condition whose index
        is fast but finds many, or False if no index is fast.
        """
        many: Condition | Literal[False] = False
        rare = MAX_RARE_EXTENDED if self.extended else MAX_RARE
        for condition in self.conditions:
            if not condition.indexed:
                continue
            candidates = condition.rare or condition.candidates
            try:
                with statement_timeout(
                    min(INDEX_BUDGET_MS * self.budget / BUDGET_MS, self._remaining_ms()), by_index=True
                ) as cursor:
                    cursor.execute(
                        f"SELECT ARRAY(SELECT c.id FROM ({candidates}) c(id) LIMIT {rare + 1})",
                        condition.candidates_params,
                    )
                    ids = cursor.fetchone()[0]
                    if len(ids) <= rare:
                        positions = self._filtered_and_sorted(cursor, ids, condition)
                        self.total = len(positions)
                        self.matches = self._after(positions, start)[:limit]
                        return None
                many = many or condition
            except StatementTimeout:
                continue
        return many

    def _by_id_windows(self, known: Condition, position: Position | None, limit: int) -> Position | None:
        """Finds matches in the next ranges of ids, each with an index. Returns the last covered position if the budget
        is spent, None if the page is full or the documents end.
        """
        with connection.cursor() as cursor:
            cursor.execute("SELECT min(id), max(id) FROM labeling_document WHERE project_id = %s", [self.project.pk])
            first, last = cursor.fetchone()
        here = position[1] if position else (last + 1 if self.order.descending else first - 1)
        while self._end - time.monotonic() > 0.01:
            low, high = (here - WINDOW_IDS, here) if self.order.descending else (here + 1, here + WINDOW_IDS + 1)
            try:
                with statement_timeout(self._remaining_ms()) as cursor:
                    # The planner rates every text as rare, and would read all rows with it or all rows of the range.
                    # These settings make it combine both indexes before it reads a row.
                    cursor.execute("; ".join(f"SET LOCAL {name} TO {value}" for name, value in _BOTH_INDEXES.items()))
                    cursor.execute(
                        f"SELECT ARRAY(SELECT c.id FROM ({known.candidates}) c(id) "
                        f"WHERE c.id >= %s AND c.id < %s LIMIT {MAX_RARE_EXTENDED})",
                        [*known.candidates_params, low, high],
                    )
                    ids = cursor.fetchone()[0]
                    cursor.execute("; ".join(f"SET LOCAL {name} TO DEFAULT" for name in _BOTH_INDEXES))
                    self.matches += self._after(self._filtered_and_sorted(cursor, ids, known), position)[
                        : limit - len(self.matches)
                    ]
            except StatementTimeout:
                break
            here = low if self.order.descending else high - 1
            if len(self.matches) >= limit or (here <= first if self.order.descending else here >= last):
                return None
        return None, here

    def _filtered_and_sorted(self, cursor: Any, ids: list[int], known: Condition) -> list[Position]:
        """The positions of those ``ids`` that match all other conditions, in order."""
        source, params = self._source(None)
        others = [condition for condition in self.conditions if condition is not known]
        checks, check_params = all_checks(others, "w.id")
        cursor.execute(
            f"SELECT w.key, w.id FROM (SELECT {self.order.columns} FROM {source} AND {self.order.id} = ANY(%s)) w "
            f"WHERE {checks}",
            [*params, sorted(set(ids)), *check_params],
        )
        return sorted(cursor.fetchall(), key=self.order.sort_key, reverse=self.order.descending)

    def _after(self, positions: list[Position], start: Position | None) -> list[Position]:
        if start is None:
            return positions
        first = self.order.sort_key(start)
        if self.order.descending:
            return [position for position in positions if self.order.sort_key(position) < first]
        return [position for position in positions if self.order.sort_key(position) > first]
