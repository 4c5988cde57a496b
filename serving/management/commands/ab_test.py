"""``manage.py ab_test``: starts, shows and stops an A/B test of two approved versions."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.models import GateReport
from labeling.models import Project
from serving.experiments import queries, services
from serving.management.users import member_who_may
from serving.models import Experiment
from slmstudio.access import Action, Forbidden
from slmstudio.errors import Refused
from slmstudio.text.formatting import exact_percent


class Command(BaseCommand):
    """Starts, stops or shows an A/B test. Without --report or --stop, it shows the newest one."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--report", type=int, help="start a test: number of the approved gate report of version B")
        action.add_argument("--stop", choices=["a", "b"], help="stop the test: the version that stays")
        parser.add_argument("--question", choices=Experiment.Question.values, default=Experiment.Question.FAILURES)
        parser.add_argument("--share", type=float, default=0.5, help="share of B (default: %(default)s)")
        parser.add_argument("--user", help="user to act as (default: the first member with permission)")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        try:
            self._change(project, options)
        except (Refused, Forbidden) as error:
            raise CommandError(str(error)) from error
        for one in queries.experiments(project)[:1]:
            arms, test = one.arms, one.experiment
            self.stdout.write(
                f"{test.get_question_display()}: A {test.a}, {arms.a_events} of {arms.a_requests}; "
                f"B {test.b} ({exact_percent(test.share)}), {arms.b_events} of {arms.b_requests}; {one.badge[1]}"
            )

    def _change(self, project: Project, options: dict[str, Any]) -> None:
        if not options["report"] and not options["stop"]:
            return
        user = member_who_may(project, options["user"], Action.DEPLOY)
        if options["stop"]:
            running = queries.running(project)
            if running is None:
                raise CommandError("No A/B test is running.")
            services.stop(experiment=running, user=user, keep_b=options["stop"] == "b")
            return
        report = GateReport.objects.filter(project=project, number=options["report"]).first()
        if report is None:
            raise CommandError(f"There is no gate report {options['report']} in {project.slug}.")
        services.start(project=project, user=user, report=report, question=options["question"], share=options["share"])
