"""Three to eight eval runs on the documents that all of them have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import Case, CharField, Count, Value, When

from evaluation.comparison.figures import TextLine, lines, own_rate, production_baseline, production_baseline_note
from evaluation.comparison.matrix import MAX_RUNS, MIN_RUNS, Matrix, cells, matrix, unbeaten
from evaluation.comparison.regressions import TITLES
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
from labeling.datasets.families import families_of
from labeling.models import Project
from slmstudio.errors import Refused


@dataclass(frozen=True)
class ComparisonMatrix:
    """The comparison of several runs; rows, cells and columns in the order of ``runs``.

    ``today``: the current production model over its own documents, last in ``lines``.
    ``documents``: how many documents all runs have; ``found`` uses those with the same gold, and the fields that all
    runs were scored for.
    ``alike``: all runs have one schema and, for shared documents, one gold.
    ``fields``: (pattern, rate of each run, best rate). ``suite``: results on the pinned documents.
    ``notes``: what limits the comparison, in sentences.
    """

    runs: Sequence[EvalRun]
    today: EvalRun | None
    documents: int
    found: Matrix
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
            for run, row in zip(self.runs, cells(self.found), strict=True)
        ]

    @property
    def own(self) -> list[tuple[str, list[Mapping[str, Any]]]]:
        """(title, rate of each run over its own documents)."""
        runs = [*self.runs, self.today] if self.today else self.runs
        return [(TITLES[name], [own_rate(run, name) for run in runs]) for name in ("field_exact", "schema_valid")]

    @property
    def exact(self) -> list[Mapping[str, Any]]:
        """Exact match: of the runs on shared documents, of the production model on its own."""
        return [*self.found.right, *([own_rate(self.today, "document_exact")] if self.today else [])]

    @property
    def best(self) -> list[EvalRun]:
        """The runs that no other is significantly better than; none without a verdict."""
        return [self.runs[place] for place in unbeaten(self.found)]


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
        found=matrix({key: row for key, row in patterns.items() if key not in several_golds}, len(runs), families),
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
    return {key: "".join(row[one] for one in place) for key, row in rows}


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
    found = []
    for name in names:
        values = [run.scores.get("per_field", {}).get(name) for run in runs]
        known = [value["rate"] for value in values if value and value["rate"] is not None]
        if known:
            found.append((name, values, max(known) if alike and len(set(known)) > 1 else None))
    return found


def _note(runs: Sequence[EvalRun], n: int) -> str:
    own = [run.scores.get("documents", n) for run in runs]
    if all(count == n for count in own):
        return ""
    return (
        f"Compared on the {n:,} documents that all evaluations have; each has {min(own):,} to {max(own):,}. "
        "Field accuracy, Schema-valid and rates by field are over each evaluation's own documents."
    )
