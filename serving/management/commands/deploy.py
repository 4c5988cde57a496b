"""``manage.py deploy``: deploys an approved model and waits until it answers, or starts with an external model."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.models import Endpoint, GateReport
from labeling.management.users import member_who_may
from labeling.models import Project
from serving.deployments import queries, services
from serving.deployments.snippets import capture_url
from serving.models import Capture, Deployment, Stage
from slmstudio.access import Action, Forbidden
from slmstudio.errors import Refused

POLL_SECONDS = 1.0


class Command(BaseCommand):
    """Deploys a model. A GPU worker builds the package, and ``manage.py serve`` starts the replicas."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        model = parser.add_mutually_exclusive_group(required=True)
        model.add_argument("--report", type=int, help="number of the approved gate report")
        model.add_argument("--endpoint", help="name of the external model that clients use today")
        parser.add_argument(
            "--capture", default=Capture.TOKEN, choices=["", *Capture.values],
            help="with --endpoint: who may send requests that are forwarded unchanged (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument("--stage", default=Stage.FULL, choices=Stage.values, help="default: %(default)s")
        parser.add_argument("--share", type=float, help="share of a canary, 0 to 1")
        parser.add_argument("--engine", default="", help="engine or variant of the package; default: as evaluated")
        parser.add_argument("--user", help="user to act as (default: the first member with permission)")
        parser.add_argument("--no-wait", action="store_true", help="do not wait until it answers")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        if options["endpoint"]:
            self._start_with(project, options)
            return
        report = GateReport.objects.filter(project=project, number=options["report"]).first()
        if report is None:
            raise CommandError(f"There is no gate report {options['report']} in {project.slug}.")
        user = member_who_may(project, options["user"], Action.DEPLOY)
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

    def _start_with(self, project: Project, options: dict[str, Any]) -> None:
        endpoint = Endpoint.objects.in_use(project).filter(name=options["endpoint"]).first()
        if endpoint is None:
            raise CommandError(f"There is no endpoint {options['endpoint']!r} in {project.slug}.")
        user = member_who_may(project, options["user"], Action.DEPLOY)
        try:
            services.deploy_endpoint(project=project, user=user, endpoint=endpoint, capture=options["capture"])
        except (Refused, Forbidden) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{endpoint} answers")
        if options["capture"]:
            self.stdout.write(f"base URL of clients: {capture_url(project.slug)}")

    def _wait(self, project: Project, deployment: Deployment) -> None:
        shown = ""
        release = deployment.candidate
        while True:
            deployment = queries.find(project) or deployment
            if release is None or release not in deployment.serving:
                raise CommandError("The candidate was removed before it answered.")
            serving = next(other for other in deployment.serving if other == release)
            status = queries.status_of(deployment, serving)
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
