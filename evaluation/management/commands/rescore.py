"""``manage.py rescore PROJECT NUMBER... [--dataset N]``: what was said then, scored by the labels of another dataset
version (the newest, where none is named). Nothing is generated.

Ends with 0 where every evaluation was scored, 1 where one was refused or failed; the others are scored all the same.
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
from slmstudio.templatetags.studio import percent

POLL_SECONDS = 0.5


class Command(BaseCommand):
    """Scores evaluations again, in this process."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument("numbers", nargs="+", type=int, help="numbers of evaluations")
        parser.add_argument("--dataset", type=int, help="number of the dataset version; default: the newest")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        dataset = _dataset(project, options["dataset"])
        refusals = []
        for number in options["numbers"]:
            try:
                self._score(project, number, dataset)
            except (Refused, CommandError) as refusal:
                refusals.append(str(refusal))
                if len(options["numbers"]) > 1:
                    self.stderr.write(f"evaluation {number}: {refusal}")
        if len(refusals) == 1:
            raise CommandError(refusals[0])
        if refusals:
            raise CommandError(f"{len(refusals)} of {len(options['numbers'])} evaluations were not scored.")

    def _score(self, project: Project, number: int, dataset: DatasetVersion) -> None:
        run = EvalRun.objects.with_subject().filter(project=project, number=number).first()
        if run is None:
            raise CommandError(f"There is no evaluation {number} in {project.slug}.")
        # Nobody of the project did it: whoever may run commands is not known to it.
        self._tell(_done(rescore(run=run, dataset=dataset, user=None)))

    def _tell(self, run: EvalRun) -> None:
        if run.status != Status.DONE:
            raise CommandError(run.error or f"Evaluation {run.number} {run.get_status_display()}.")
        told = run.facts["rescored"]
        noise = told["noise"]
        source = run.rescored_from
        assert source is not None
        self.stdout.write(
            f"evaluation {source.number} by {run.dataset}: evaluation {run.number}. "
            f"Fields right {percent(told['before']['field_exact']['rate'])} before, "
            f"{percent(run.scores['field_exact']['rate'])} now; "
            f"of {noise['before']} wrong fields {noise['mended']} were the label's, {noise['spoiled']} are newly wrong."
        )
        for name, words in (("gone", "no longer there"), ("unanswered", "never asked about")):
            if told[name]:
                self.stdout.write(f"  {told[name]} documents {words}: {', '.join(told[f'{name}_ids'])}")


def _dataset(project: Project, number: int | None) -> DatasetVersion:
    rows = DatasetVersion.objects.filter(project=project).order_by("-number")
    found = rows.first() if number is None else rows.filter(number=number).first()
    if found is None:
        raise CommandError("Nothing is frozen yet." if number is None else f"There is no dataset version {number}.")
    return found


def _done(run: EvalRun) -> EvalRun:
    """The run once it has ended: done here, or waited for where a worker was faster."""
    run_jobs.run_evaluation(run.pk)
    run.refresh_from_db()
    while run.is_live:
        time.sleep(POLL_SECONDS)
        run.refresh_from_db()
    return run
