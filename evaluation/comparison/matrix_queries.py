"""Three to eight eval runs on the documents that all of them have."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import Case, CharField, Count, Value, When

from evaluation.comparison.figures import Line, lines, own_rate, today, today_note
from evaluation.comparison.matrix import LEAST, MOST, Matrix, best, grid, matrix
from evaluation.comparison.regressions import TITLES
from evaluation.comparison.services import check, notes_of_many, several_golds, shared_fields
from evaluation.models import EvalOutput, EvalRun
from evaluation.regression_suite import services as regression_suite_services
from labeling.models import Project
from slmstudio.errors import Refused


@dataclass(frozen=True)
class Table:
    """What the page of several runs shows; rows, cells and columns in the order of ``runs``.

    ``today``: the large model that does the job today, beside them over its own documents, and last in ``lines``.
    ``documents`` is how many all of them have; ``found`` rests on those with one gold, and on the fields that all were
    scored for. ``alike``: all were scored by one schema and, where they share documents, against one gold.
    ``fields``: (pattern, rate of each run, place of the best). ``suite``: how each did on the pinned documents.
    ``notes``: what stands against holding them against each other, in sentences.
    """

    runs: Sequence[EvalRun]
    today: EvalRun | None
    documents: int
    found: Matrix
    alike: bool
    lines: Sequence[Line]
    fields: Sequence[tuple[str, Sequence[dict[str, Any] | None], float | None]]
    suite: Sequence[regression_suite_services.Standing]
    notes: Sequence[str]

    @property
    def grid(self) -> Any:
        """(run, its cells) for each row; a cell is ``{"number", "pair"}``, None on the diagonal."""
        numbers = [run.number for run in self.runs]
        return [
            (run, [pair and {"number": number, "pair": pair} for number, pair in zip(numbers, cells, strict=True)])
            for run, cells in zip(self.runs, grid(self.found), strict=True)
        ]

    @property
    def own(self) -> list[tuple[str, list[Mapping[str, Any]]]]:
        """(title, rate of each run over its own documents)."""
        runs = [*self.runs, self.today] if self.today else self.runs
        return [(TITLES[name], [own_rate(run, name) for run in runs]) for name in ("field_exact", "schema_valid")]

    @property
    def exact(self) -> list[Mapping[str, Any]]:
        """How often each has a whole document right: the runs on what they share, the model of today on its own."""
        return [*self.found.right, *([own_rate(self.today, "document_exact")] if self.today else [])]

    @property
    def best(self) -> list[EvalRun]:
        """The runs that none is proven to beat; none of them where nothing could be judged."""
        return [self.runs[place] for place in best(self.found)]


def compare_many(*, project: Project, runs: Sequence[EvalRun]) -> Table:
    """Raises Refused as ``compare_runs`` does, and for fewer than three or more than eight."""
    if not LEAST <= len(runs) <= MOST:
        raise Refused(f"Choose {LEAST} to {MOST} evaluations.", field="runs")
    check(*runs)
    numbers = ", ".join(str(run.number) for run in runs)
    shared = shared_fields(runs)
    if shared is not None and not shared:
        raise Refused(f"The schemas of evaluations {numbers} have no field in common.", field="runs")
    patterns = _patterns(runs, shared)
    if not patterns:
        raise Refused(f"Evaluations {numbers} have no document in common.", field="runs")
    twofold = several_golds(runs, shared)
    alike = shared is None and not twofold
    standings, beside = regression_suite_services.standings(project, runs), today(*runs)
    unlike = notes_of_many(runs, documents=len(patterns), golds=len(twofold), shared=shared)
    return Table(
        runs=runs,
        today=beside,
        documents=len(patterns),
        found=matrix(Counter(row for key, row in patterns.items() if key not in twofold), len(runs)),
        alike=alike,
        lines=lines(project, [*runs, beside] if beside else runs),
        fields=_fields(runs, alike),
        suite=[standings[run.pk] for run in runs],
        notes=[note for note in (_note(runs, len(patterns)), *unlike, today_note(runs[-1], beside)) if note],
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
    """Whether an output is right, as "1" or "0": the whole of it, or as far as the fields of ``shared`` go, by the rule
    of ``evaluation.comparison.paired.Judged.within``.
    """
    branches = [When(exact=True, then=Value("1"))]
    if shared is not None:
        branches += [
            When(valid=False, then=Value("0")),
            When(wrong_fields__overlap=sorted(shared), then=Value("0")),
            # Last, because a score is long and PostgreSQL reads it only where nothing before has decided.
            When(score__contains={"no_extra_keys": False}, then=Value("0")),
        ]
    return Case(*branches, default=Value("0" if shared is None else "1"), output_field=CharField())


def _fields(runs: Sequence[EvalRun], alike: bool) -> list[tuple[str, list[dict[str, Any] | None], float | None]]:
    """Rates per field as each run counted them, with the best where they differ and were counted alike."""
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
        f"Compared on the {n:,} documents that every evaluation has; alone they have {min(own):,} to {max(own):,}. "
        "Fields right, Schema-valid and figures by field are over each one's own documents."
    )
