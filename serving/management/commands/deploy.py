"""``manage.py deploy``: deploys an approved model, and waits until it answers."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.models import GateReport
from labeling.models import Project
from serving.deployments import queries, services
from serving.management.users import member_who_deploys
from serving.models import Deployment, Stage
from slmstudio.access import Forbidden
from slmstudio.errors import Refused

POLL_SECONDS = 1.0


class Command(BaseCommand):
    """The package is built by the GPU worker; ``manage.py serve`` starts the replicas."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--report", required=True, type=int, help="number of the approved gate report")
        parser.add_argument("--stage", default=Stage.FULL, choices=Stage.values, help="default: %(default)s")
        parser.add_argument("--share", type=float, help="share of a canary, 0 to 1")
        parser.add_argument("--engine", default="", help="engine or variant of the package; default: as evaluated")
        parser.add_argument("--user", help="who deploys (default: the first member who may)")
        parser.add_argument("--no-wait", action="store_true", help="return before it answers")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        report = GateReport.objects.filter(project=project, number=options["report"]).first()
        if report is None:
            raise CommandError(f"There is no gate report {options['report']} in {project.slug}.")
        user = member_who_deploys(project, options["user"])
        try:
            deployment = services.deploy(
                project=project, user=user, stage=options["stage"], report=report,
                share=options["share"], engine=options["engine"],
            )  # fmt: skip
        except (Refused, Forbidden) as error:
            raise CommandError(str(error)) from error
        release = deployment.candidate
        assert release is not None
        self.stdout.write(f"{release.label} is being deployed")
        if not options["no_wait"]:
            self._wait(project, deployment)

    def _wait(self, project: Project, deployment: Deployment) -> None:
        shown = ""
        release = deployment.candidate
        while True:
            deployment = queries.find(project) or deployment
            if release is None or release.pk not in [one.pk for one in deployment.serving]:
                raise CommandError("The deployment was taken back.")
            status = queries.status_of(deployment, next(one for one in deployment.serving if one.pk == release.pk))
            assert status is not None
            state, label = status.state
            line = f"{label}: {status.error}" if status.error else label
            if line != shown:
                self.stdout.write(line)
                shown = line
            if state == "failed":
                raise CommandError(line)
            # A candidate at stage full becomes the stable release as soon as it answers.
            if state == "done" and (deployment.stage != Stage.FULL or deployment.candidate is None):
                return
            time.sleep(POLL_SECONDS)
