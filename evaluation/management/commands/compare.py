"""``manage.py compare A B``: what evaluation B fixed and broke against evaluation A, by their numbers.

With more than two, a matrix. The comparison goes to standard output as text for people (Markdown) or as JSON.

Ends with 0 where it was compared, 1 where it could not be (no such evaluation, not done, nothing in common), 2 where
the command was written wrongly, and with ``--fail-on-regression`` with 3 where B is a regression: a pinned document is
wrong in B, or B is worse than A by more than luck in schema-valid outputs, right fields, right documents, invented
values, or one field (exact tests over documents at 5 %, these four and the fields each after Holm). With ``--any`` one
broken document is enough. Documents that the two were scored by different gold for, and fields that only one schema
has, say nothing about either: they are left out, and standard error tells of them. Where that leaves no document and
no pin is broken, nothing was judged, and ``--fail-on-regression`` ends with 1. Of more than two, each is held against
the first.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.comparison.matrix import MOST
from evaluation.comparison.matrix_queries import compare_many
from evaluation.comparison.report import matrix_report, report
from evaluation.comparison.report_markdown import comparison_markdown
from evaluation.comparison.services import compare_runs
from evaluation.models import EvalRun
from labeling.models import Project
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused

UNJUDGED, REGRESSION = 1, 3


class Command(BaseCommand):
    """Compares evaluations of a project, for people and for continuous integration."""

    help = __doc__ or ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("evaluations", nargs="+", type=int, metavar="NUMBER", help=f"two to {MOST}; the first is A")
        parser.add_argument("--project", help="slug; needed where several projects have evaluations of these numbers")
        parser.add_argument("--format", choices=["markdown", "json"], default="markdown")
        parser.add_argument("--output", type=Path, help="a file in the place of standard output")
        parser.add_argument("--fail-on-regression", action="store_true", help=f"end with {REGRESSION} for a regression")
        parser.add_argument("--any", action="store_true", help="one broken document is a regression")

    def handle(self, *args: Any, **options: Any) -> None:
        numbers = list(dict.fromkeys(options["evaluations"]))
        if not 2 <= len(numbers) <= MOST or not all(0 < number < 10**9 for number in numbers):
            raise CommandError(f"Name two to {MOST} different evaluations.", returncode=2)
        project = _project(options["project"], numbers)
        runs = _runs(project, numbers)
        try:
            reports = [self._report(project, runs[0], run, options["any"]) for run in runs[1:]]
            whole = reports[0] if len(runs) == 2 else matrix_report(project, compare_many(project=project, runs=runs))
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        self._write(whole, options)
        for note in whole["notes"]:
            self.stderr.write(f"Note: {note}")
        for one in reports:
            for sentence in filter(None, [one["basis"], *one["regressions"]]):
                self.stderr.write(f"Evaluation {one['b']['number']} against {numbers[0]}: {sentence}")
        if options["fail_on_regression"]:
            self._end(reports)

    def _end(self, reports: list[dict[str, Any]]) -> None:
        """Ends with the code of the worst that was found; no word about a document is no word for B."""
        if any(one["regressions"] for one in reports):
            sys.exit(REGRESSION)
        if not all(one["judged"] for one in reports):
            sys.exit(UNJUDGED)

    def _report(self, project: Project, a: EvalRun, b: EvalRun, any_document: bool) -> dict[str, Any]:
        comparison = compare_runs(a=a, b=b)
        found: dict[str, Any] = report(project=project, comparison=comparison, a=a, b=b, any_document=any_document)
        return found

    def _write(self, whole: dict[str, Any], options: dict[str, Any]) -> None:
        text = dumps(whole) + "\n" if options["format"] == "json" else comparison_markdown(whole)
        if options["output"] is None:
            self.stdout.write(text, ending="")
            return
        try:
            options["output"].write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}.") from error


def _project(slug: str | None, numbers: list[int]) -> Project:
    """The project that is named, or the one that has evaluations of all these numbers."""
    if slug is not None:
        named = Project.objects.filter(slug=slug).first()
        if named is None:
            raise CommandError(f"There is no project {slug!r}.")
        return named
    found = list(Project.objects.order_by("slug"))
    for number in numbers:
        rows: Any = EvalRun.objects.filter(number=number)
        having = set(rows.values_list("project_id", flat=True))
        found = [project for project in found if project.pk in having]
    if not found:
        raise CommandError(f"No project has the evaluations {', '.join(map(str, numbers))}.")
    if len(found) > 1:
        slugs = ", ".join(project.slug for project in found)
        raise CommandError(f"Several projects have evaluations of these numbers: {slugs}. Name one with --project.")
    return found[0]


def _runs(project: Project, numbers: list[int]) -> list[EvalRun]:
    rows = EvalRun.objects.filter(project=project, number__in=numbers).with_subject()
    found = {run.number: run for run in rows.select_related("dataset__schema_version", "rescored_from")}
    missing = [str(number) for number in numbers if number not in found]
    if missing:
        raise CommandError(f"Project {project.slug} has no evaluation {', '.join(missing)}.")
    return [found[number] for number in numbers]
