"""``manage.py setup_demo``: the demo project, its three people and one pass of the loop on the queue.

Every step looks first whether it is done, so that a second call is quick and a call that was interrupted goes on.
"""

import json
import secrets
from argparse import ArgumentParser
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError

from evaluation.models import LoopRun
from evaluation.pipeline.services import start_loop
from labeling.datasets.freeze import freeze
from labeling.demo.samples import Sample, generate
from labeling.imports.services import ParsedRow, import_rows
from labeling.models import DatasetVersion, Project
from labeling.projects.services import create_project
from slmstudio.access import Role
from slmstudio.accounts.permissions import GROUP
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import requeue_interrupted
from slmstudio.workers.registry import active_queues
from training.base_models.services import find_base_model, prepare, sync_catalogue
from training.models import BaseModel
from training.runs.jobs import measure_lengths as measure_lengths_job
from training.runs.services import fitting_knobs, measure_lengths

SLUG = "invoices"
OWNER = "demo-owner"
DOCUMENTS = 240
WAITING = 40
SEED = 17
PEOPLE = {"ana": Role.ANNOTATOR, "erik": Role.ENGINEER, "mona": Role.MANAGER}


class Command(BaseCommand):
    """Makes the demo ready and queues its loop; prints the logins."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--base-model", default="smollm2-135m-instruct")
        parser.add_argument("--no-loop", action="store_true", help="documents and people only")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalogue()
        if not active_queues():
            for run in requeue_interrupted():
                self._note(f"was interrupted and starts again: {run}")
        people, password = self._people()
        project = self._project(people)
        if not options["no_loop"] and not LoopRun.objects.filter(project=project).exists():
            self._queue_loop(project, people["erik"], options["base_model"])
        for name, role in PEOPLE.items():
            self.stdout.write(f"  {role.label:10} {name:6} {password}")

    def _note(self, text: str) -> None:
        """Progress goes to standard error: standard output holds the logins, and nothing else."""
        self.stderr.write(text, self.style.NOTICE)

    def _people(self) -> tuple[dict[str, Any], str]:
        """The three people, with a password of this installation's own kept beside its data."""
        path = Path(settings.HOME) / "demo-logins.json"
        if path.exists():
            password = json.loads(path.read_text())["password"]
        else:
            password = f"demo-{secrets.token_hex(3)}"
            draft = path.with_suffix(".draft")
            draft.touch(mode=0o600)
            draft.write_text(json.dumps({"people": list(PEOPLE), "password": password}))
            draft.rename(path)
        people = {}
        creators = Group.objects.get(name=GROUP)
        for name in PEOPLE:
            user, made = get_user_model().objects.get_or_create(username=name)
            if not made and not user.memberships.filter(project__slug=SLUG).exists() and user.has_usable_password():
                raise CommandError(f"The database has a {name} of its own. Run the demo on a database of its own.")
            if not user.check_password(password):
                user.set_password(password)
                user.save(update_fields=["password"])
            user.groups.add(creators)
            people[name] = user
        return people, password

    def _project(self, people: dict[str, Any]) -> Project:
        project = Project.objects.filter(slug=SLUG).first()
        if project is not None and not project.memberships.filter(user__username=OWNER, role=Role.OWNER).exists():
            raise CommandError(f"The database has a project {SLUG} of its own. Run the demo on a database of its own.")
        if project is None:
            owner, made = get_user_model().objects.get_or_create(username=OWNER)
            if made:
                owner.set_unusable_password()
                owner.save(update_fields=["password"])
            project = create_project(
                owner=owner,
                name="Invoices",
                slug=SLUG,
                template="invoice",
                members={user: PEOPLE[name] for name, user in people.items()},
            )
        if project.documents.count() < DOCUMENTS:
            self._note(f"generating {DOCUMENTS} invoices")
            samples = islice(generate(DOCUMENTS, SEED), DOCUMENTS)
            rows = (ParsedRow(number, _row(sample, number)) for number, sample in enumerate(samples, start=1))
            import_rows(project=project, rows=rows, source="generator", synthetic=True, user=None)
        return project

    def _queue_loop(self, project: Project, engineer: Any, slug: str) -> None:
        base_model: BaseModel = find_base_model(slug)
        if not base_model.ready:
            self._note(f"preparing {base_model} (once, about a minute)")
            base_model = prepare(base_model=base_model)
        dataset = DatasetVersion.objects.filter(project=project).order_by("-number").first()
        if dataset is None:
            dataset = freeze(project=project, user=engineer, seed=SEED, validation_share=0.06)
        report = measure_lengths(dataset=dataset, base_model=base_model, user=engineer)
        # No worker runs yet at this point of `make demo`: measure here. The job on the queue then finds it claimed.
        measure_lengths_job(report.pk)
        report.refresh_from_db()
        if report.status != Status.DONE:
            self._note(f"The loop was not queued: {report.error or report.get_status_display()}")
            return
        knobs = fitting_knobs(dataset=dataset, base_model=base_model)
        start_loop(project=project, user=engineer, dataset=dataset, base_model=base_model, knobs=knobs, name="demo")
        self._note("queued: benchmark of the base model, fine-tuning, evaluation, comparison, gates")


def _row(sample: Sample, number: int) -> dict[str, Any]:
    """A sample as an import row; the last ones of the set come without gold and wait to be labelled."""
    row: dict[str, Any] = {"id": sample.external_id, "text": sample.text, "tags": sample.tags}
    if number <= DOCUMENTS - WAITING:
        row["gold"] = sample.gold
    return row
