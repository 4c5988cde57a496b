"""``manage.py compare A B``: compares evaluation B with baseline A, by number.

More than two evaluations make a matrix, and each is compared with the first. The comparison is printed as Markdown or
JSON.

Exit codes: 0 compared, 1 not comparable (unknown or unfinished evaluation, no shared document), 2 wrong arguments.
With ``--fail-on-regression`` also 3 for a regression: a pinned document is wrong in B, or B is significantly worse than
A in schema-valid outputs, field accuracy, exact match, hallucinated values or one field (exact tests over documents at
5%; Holm over these four, and over the fields). With ``--any`` a single regressed document is a regression. Documents
with different gold and fields of only one schema are left out, with a note on standard error. If no document is left
and no pinned document is wrong, ``--fail-on-regression`` exits with 1.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.comparison.matrix import MAX_RUNS, build_matrix
from evaluation.comparison.report import comparison_markdown, matrix_report, report
from evaluation.comparison.services import get_or_create_comparison
from evaluation.models import EvalRun
from labeling.models import Project
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused

EXIT_NOT_JUDGED, REGRESSION = 1, 3


class Command(BaseCommand):
    """Compares evaluations of a project, for people and for continuous integration."""

    help = __doc__ or ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "evaluations", nargs="+", type=int, metavar="NUMBER", help=f"two to {MAX_RUNS}; the first is A"
        )
        parser.add_argument("--project", help="slug; required if several projects have evaluations with these numbers")
        parser.add_argument("--format", choices=["markdown", "json"], default="markdown")
        parser.add_argument("--output", type=Path, help="write to a file instead of standard output")
        parser.add_argument("--fail-on-regression", action="store_true", help=f"exit with {REGRESSION} on a regression")
        parser.add_argument("--any", action="store_true", help="count a single regressed document as a regression")

    def handle(self, *args: Any, **options: Any) -> None:
        numbers = list(dict.fromkeys(options["evaluations"]))
        if not 2 <= len(numbers) <= MAX_RUNS or not all(0 < number < 10**9 for number in numbers):
            raise CommandError(f"Give two to {MAX_RUNS} different evaluations.", returncode=2)
        project = _project(options["project"], numbers)
        runs = _runs(project, numbers)
        try:
            reports = [self._report(project, runs[0], run, options["any"]) for run in runs[1:]]
            whole = reports[0] if len(runs) == 2 else matrix_report(project, build_matrix(project=project, runs=runs))
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        self._write(whole, options)
        for note in whole["notes"]:
            self.stderr.write(f"Note: {note}")
        for compared in reports:
            for sentence in filter(None, [compared["basis"], *compared["regressions"]]):
                self.stderr.write(f"Evaluation {compared['b']['number']} against {numbers[0]}: {sentence}")
        if options["fail_on_regression"]:
            self._end(reports)

    def _end(self, reports: list[dict[str, Any]]) -> None:
        """Exits with the code of the worst result; a comparison without documents is not a pass."""
        if any(compared["regressions"] for compared in reports):
            sys.exit(REGRESSION)
        if not all(compared["judged"] for compared in reports):
            sys.exit(EXIT_NOT_JUDGED)

    def _report(self, project: Project, a: EvalRun, b: EvalRun, any_document: bool) -> dict[str, Any]:
        comparison = get_or_create_comparison(a=a, b=b)
        content: dict[str, Any] = report(project=project, comparison=comparison, a=a, b=b, any_document=any_document)
        return content

    def _write(self, whole: dict[str, Any], options: dict[str, Any]) -> None:
        text = dumps(whole) + "\n" if options["format"] == "json" else comparison_markdown(whole)
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            options["output"].write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"Cannot write {options['output']}: {error.strerror}.") from error


def _project(slug: str | None, numbers: list[int]) -> Project:
    """The named project, or the only one with evaluations of all these numbers."""
    if slug is not None:
        named = Project.objects.filter(slug=slug).first()
        if named is None:
            raise CommandError(f"Project {slug!r} not found.")
        return named
    projects = list(Project.objects.order_by("slug"))
    for number in numbers:
        rows = EvalRun.objects.filter(number=number)
        having = set(rows.values_list("project_id", flat=True))
        projects = [project for project in projects if project.pk in having]
    if not projects:
        raise CommandError(f"No project has evaluations {', '.join(map(str, numbers))}.")
    if len(projects) > 1:
        slugs = ", ".join(project.slug for project in projects)
        raise CommandError(f"Several projects have evaluations with these numbers: {slugs}. Choose one with --project.")
    return projects[0]


def _runs(project: Project, numbers: list[int]) -> list[EvalRun]:
    rows = EvalRun.objects.filter(project=project, number__in=numbers).with_model()
    by_number = {run.number: run for run in rows.select_related("dataset__schema_version", "rescored_from")}
    missing = [str(number) for number in numbers if number not in by_number]
    if missing:
        raise CommandError(f"Project {project.slug} has no evaluation {', '.join(missing)}.")
    return [by_number[number] for number in numbers]
