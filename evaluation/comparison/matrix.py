"""Several models on the documents that all of them have: the exact match of each, and every pair compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import Case, CharField, Count, Value, When

from evaluation.comparison.figures import TextLine, lines, own_rate, production_baseline, production_baseline_note
from evaluation.comparison.regressions import SIGNIFICANCE_LEVEL, TITLES
from evaluation.comparison.services import (
    check_comparable,
    documents_with_several_golds,
    family_note,
    matrix_notes,
    newest_dataset,
    shared_fields,
)
from evaluation.models import EvalOutput, EvalRun
from evaluation.regression_suite import services as regression_suite_services
from evaluation.scores.rates import document_rate, sign_test
from evaluation.stats import holm
from labeling.datasets.families import families_of
from labeling.models import Project
from slmstudio.errors import Refused

MIN_RUNS, MAX_RUNS = 3, 8


@dataclass(frozen=True)
class Pair:
    """A later run compared with an earlier one: documents fixed and broken of ``n``.

    The p-value is an exact McNemar test, corrected by Holm over all pairs.
    """

    n: int
    fixed: int
    broken: int
    p_value: float
    p_adjusted: float

    @property
    def reading(self) -> str:
        """``better``, ``worse``, ``same`` (no change), ``luck`` (not significant), ``unjudged`` (no document
        counts); stored in exported files.
        """
        if not self.n:
            return "unjudged"
        if not (self.fixed or self.broken):
            return "same"
        if self.p_adjusted >= SIGNIFICANCE_LEVEL:
            return "luck"
        return "better" if self.fixed > self.broken else "worse"

    def reversed(self) -> "Pair":
        """The earlier run compared with the later one."""
        return Pair(self.n, self.broken, self.fixed, self.p_value, self.p_adjusted)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "fixed": self.fixed,
            "broken": self.broken,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "reading": self.reading,
        }


@dataclass(frozen=True)
class Matrix:
    """``n`` documents that count. ``right``: exact match of each run, in order.

    ``pairs``: (position of one run, position of another) -> the second compared with the first, in both directions.
    """

    n: int
    right: tuple[dict[str, Any], ...]
    pairs: Mapping[tuple[int, int], Pair]


def matrix(patterns: Mapping[Any, str], runs: int, families: Mapping[Any, Any] | None = None) -> Matrix:
    """``patterns``: document -> which of the runs have it right, a character for each: "101".

    ``families``: document -> family, where a document is not alone in it. Intervals and tests are then over whole
    families, too.
    """
    if any(len(pattern) != runs for pattern in patterns.values()):
        raise ValueError("a pattern has one character for each run")
    n = len(patterns)
    of = [(families or {}).get(document, document) for document in patterns]
    columns = [[pattern[place] == "1" for pattern in patterns.values()] for place in range(runs)]
    right = tuple(document_rate(column, of) for column in columns)
    order = list(combinations(range(runs), 2))
    tests = [sign_test(columns[first], columns[other], of) for first, other in order]
    p_values = [p_value for _, _, p_value in tests]
    pairs: dict[tuple[int, int], Pair] = {}
    for (first, other), (fixed, broken, p_value), adjusted in zip(order, tests, holm(p_values), strict=True):
        pairs[first, other] = Pair(n, fixed, broken, p_value, adjusted)
        pairs[other, first] = pairs[first, other].reversed()
    return Matrix(n, right, pairs)


def unbeaten(table: Matrix) -> list[int]:
    """Positions of the runs that no other is significantly better than; none where no document counts."""
    if not table.n:
        return []
    return [
        place
        for place in range(len(table.right))
        if not any(pair.reading == "better" for (first, _), pair in table.pairs.items() if first == place)
    ]


def cells(table: Matrix) -> Sequence[Sequence[Pair | None]]:
    """A row for each run, a cell for each run compared with it; None on the diagonal."""
    runs = range(len(table.right))
    return [[table.pairs.get((first, other)) for other in runs] for first in runs]


@dataclass(frozen=True)
class ComparisonMatrix:
    """The comparison of several runs; rows, cells and columns in the order of ``runs``.

    ``today``: the current production model over its own documents, last in ``lines``.
    ``documents``: how many documents all runs have; ``pairwise`` uses those with the same gold, and the fields that all
    runs were scored for.
    ``alike``: all runs have one schema and, for shared documents, one gold.
    ``fields``: (pattern, rate of each run, best rate). ``suite``: results on the pinned documents.
    ``notes``: what limits the comparison, in sentences.
    """

    runs: Sequence[EvalRun]
    today: EvalRun | None
    documents: int
    pairwise: Matrix
    alike: bool
    lines: Sequence[TextLine]
    fields: Sequence[tuple[str, Sequence[dict[str, Any] | None], float | None]]
    suite: Sequence[regression_suite_services.SuiteResult]
    notes: Sequence[str]

    @property
    def grid(self) -> Any:
        """(run, its cells) for each row; a cell is ``{"number", "pair"}``, None on the diagonal."""
        numbers = [run.number for run in self.runs]
        return [
            (run, [pair and {"number": number, "pair": pair} for number, pair in zip(numbers, row, strict=True)])
            for run, row in zip(self.runs, cells(self.pairwise), strict=True)
        ]

    @property
    def own(self) -> list[tuple[str, list[Mapping[str, Any]]]]:
        """(title, rate of each run over its own documents)."""
        runs = [*self.runs, self.today] if self.today else self.runs
        return [(TITLES[name], [own_rate(run, name) for run in runs]) for name in ("field_exact", "schema_valid")]

    @property
    def exact(self) -> list[Mapping[str, Any]]:
        """Exact match: of the runs on shared documents, of the production model on its own."""
        return [*self.pairwise.right, *([own_rate(self.today, "document_exact")] if self.today else [])]

    @property
    def best(self) -> list[EvalRun]:
        """The runs that no other is significantly better than; none without a verdict."""
        return [self.runs[place] for place in unbeaten(self.pairwise)]


def build_matrix(*, project: Project, runs: Sequence[EvalRun]) -> ComparisonMatrix:
    """Raises Refused as ``compare_runs`` does, and for fewer than three or more than eight."""
    if not MIN_RUNS <= len(runs) <= MAX_RUNS:
        raise Refused(f"Select {MIN_RUNS} to {MAX_RUNS} evaluations.", field="runs")
    check_comparable(*runs)
    numbers = ", ".join(str(run.number) for run in runs)
    shared = shared_fields(runs)
    if shared is not None and not shared:
        raise Refused(f"The schemas of evaluations {numbers} have no fields in common.", field="runs")
    patterns = _patterns(runs, shared)
    if not patterns:
        raise Refused(f"Evaluations {numbers} have no documents in common.", field="runs")
    several_golds = documents_with_several_golds(runs, shared)
    alike = shared is None and not several_golds
    newest = newest_dataset(*runs)
    families = families_of(newest, runs[-1].split)
    standings, production = regression_suite_services.suite_results(project, runs), production_baseline(*runs)
    unlike = matrix_notes(runs, documents=len(patterns), golds=len(several_golds), shared=shared)
    return ComparisonMatrix(
        runs=runs,
        today=production,
        documents=len(patterns),
        pairwise=matrix({key: row for key, row in patterns.items() if key not in several_golds}, len(runs), families),
        alike=alike,
        lines=lines(project, [*runs, production] if production else runs),
        fields=_fields(runs, alike),
        suite=[standings[run.pk] for run in runs],
        notes=list(
            filter(
                None,
                (
                    _note(runs, len(patterns)),
                    family_note(newest, list(patterns), families),
                    *unlike,
                    production_baseline_note(runs[-1], production),
                ),
            )
        ),
    )


def _patterns(runs: Sequence[EvalRun], shared: frozenset[str] | None) -> dict[int, str]:
    """Key of each document that every run has -> which of them have it right, a character for each in their order."""
    keys = [run.pk for run in runs]
    place = [sorted(keys).index(key) for key in keys]
    rows = (
        EvalOutput.objects.filter(eval_run__in=keys)
        .values("document_id")
        .annotate(answers=Count("pk"), pattern=StringAgg(_right(shared), delimiter="", order_by="eval_run_id"))
        .filter(answers=len(keys))
        .values_list("document_id", "pattern")
    )
    return {key: "".join(row[position] for position in place) for key, row in rows}


def _right(shared: frozenset[str] | None) -> Case:
    """Whether an output is right, as "1" or "0": all of it, or the fields of ``shared``, by the rule of
    ``evaluation.scores.score_view.ScoreView.within``.
    """
    branches = [When(exact=True, then=Value("1"))]
    if shared is not None:
        branches += [
            When(valid=False, then=Value("0")),
            When(wrong_fields__overlap=sorted(shared), then=Value("0")),
            # Last: a score is long, and PostgreSQL reads it only where no earlier branch applies.
            When(score__contains={"no_extra_keys": False}, then=Value("0")),
        ]
    return Case(*branches, default=Value("0" if shared is None else "1"), output_field=CharField())


def _fields(runs: Sequence[EvalRun], alike: bool) -> list[tuple[str, list[dict[str, Any] | None], float | None]]:
    """Rates per field as each run counted them, with the best where they differ and are comparable."""
    names = dict.fromkeys(name for run in runs for name in run.scores.get("per_field", {}))
    fields = []
    for name in names:
        values = [run.scores.get("per_field", {}).get(name) for run in runs]
        known = [value["rate"] for value in values if value and value["rate"] is not None]
        if known:
            fields.append((name, values, max(known) if alike and len(set(known)) > 1 else None))
    return fields


def _note(runs: Sequence[EvalRun], n: int) -> str:
    own = [run.scores.get("documents", n) for run in runs]
    if all(count == n for count in own):
        return ""
    return (
        f"Compared on the {n:,} documents that all evaluations have; each has {min(own):,} to {max(own):,}. "
        "Field accuracy, Schema-valid and rates by field are over each evaluation's own documents."
    )
