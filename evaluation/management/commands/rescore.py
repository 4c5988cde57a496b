"""``manage.py rescore PROJECT NUMBER... [--dataset N] [--confirm-holdout]``: scores stored outputs with another dataset
version.

The default is the newest version. Nothing is generated. On the hold-out a re-scoring counts as an evaluation: without
``--confirm-holdout`` its price is printed, and nothing is scored.

Exit codes: 0 all evaluations were re-scored, 1 at least one was not; the others still are.
"""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.models import EvalRun
from evaluation.runs import jobs as run_jobs
from evaluation.runs.rescoring import rescore
from labeling.models import DatasetVersion, Project
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.text.formatting import percent

POLL_SECONDS = 0.5


class Command(BaseCommand):
    """Re-scores evaluations in this process."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument("numbers", nargs="+", type=int, help="numbers of evaluations")
        parser.add_argument("--dataset", type=int, help="number of the dataset version (default: the newest)")

        parser.add_argument("--confirm-holdout", action="store_true", help="confirm the price of hold-out evaluations")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"Project {options['project']!r} not found.")
        dataset = _dataset(project, options["dataset"])
        refusals = []
        for number in options["numbers"]:
            try:
                self._score(project, number, dataset, confirm_holdout=options["confirm_holdout"])
            except (Refused, CommandError) as refusal:
                refusals.append(str(refusal))
                if len(options["numbers"]) > 1:
                    self.stderr.write(f"evaluation {number}: {refusal}")
        if len(refusals) == 1:
            raise CommandError(refusals[0])
        if refusals:
            raise CommandError(f"{len(refusals)} of {len(options['numbers'])} evaluations were not re-scored.")

    def _score(self, project: Project, number: int, dataset: DatasetVersion, *, confirm_holdout: bool) -> None:
        run = EvalRun.objects.with_model().filter(project=project, number=number).first()
        if run is None:
            raise CommandError(f"Project {project.slug} has no evaluation {number}.")
        # No user: an operator of the server is not a member of the project.
        made = rescore(run=run, dataset=dataset, user=None, confirm_holdout=confirm_holdout)
        self._print_result(_done(made))

    def _print_result(self, run: EvalRun) -> None:
        if run.status != Status.DONE:
            raise CommandError(run.error or f"Evaluation {run.number} {run.get_status_display().lower()}.")
        facts = run.facts["rescored"]
        noise = facts["noise"]
        source = run.rescored_from
        assert source is not None
        self.stdout.write(
            f"Evaluation {source.number} re-scored with {run.dataset}: evaluation {run.number}. "
            f"Field accuracy {percent(facts['before']['field_exact']['rate'])} before, "
            f"{percent(run.scores['field_exact']['rate'])} now; "
            f"{noise['mended']} of {noise['before']} wrong fields were label errors, "
            f"{noise['spoiled']} are newly wrong."
        )
        for name, words in (("gone", "deleted"), ("unanswered", "without an output")):
            if facts[name]:
                self.stdout.write(f"  {facts[name]} documents {words}: {', '.join(facts[f'{name}_ids'])}")


def _dataset(project: Project, number: int | None) -> DatasetVersion:
    rows = DatasetVersion.objects.filter(project=project).order_by("-number")
    dataset = rows.first() if number is None else rows.filter(number=number).first()
    if dataset is None:
        raise CommandError(f"{project.slug} has no dataset version{'' if number is None else f' {number}'}.")
    return dataset


def _done(run: EvalRun) -> EvalRun:
    """Runs the evaluation here, or waits for the worker that has claimed it."""
    run_jobs.run_evaluation(run.pk)
    run.refresh_from_db()
    while run.is_live:
        time.sleep(POLL_SECONDS)
        run.refresh_from_db()
    return run
