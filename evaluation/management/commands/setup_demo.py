"""``manage.py setup_demo``: the demo project, its three users and one queued pipeline.

The passwords are printed when they are made, and stored in a file that only this account reads. Every step is skipped
if it is done, so a second call is quick and an interrupted call resumes.
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

from evaluation.models import PipelineRun
from evaluation.pipeline.services import start_pipeline
from labeling.datasets.freeze import freeze
from labeling.demo.samples import Sample, generate
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetVersion, Project
from labeling.projects.services import create_project
from slmstudio.access import Role
from slmstudio.accounts.global_permissions import GROUP
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import requeue_interrupted
from slmstudio.workers.live_workers import active_queues
from training.base_models.preparation import prepare
from training.base_models.services import find_base_model, sync_catalog
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.models import BaseModel
from training.runs.jobs import measure_lengths as measure_lengths_job
from training.runs.services import measure_lengths

SLUG = "invoices"
OWNER = "demo-owner"
DOCUMENTS = 240
WAITING = 40
SEED = 17
USERS = {"ana": Role.ANNOTATOR, "erik": Role.ENGINEER, "mona": Role.MANAGER}


class Command(BaseCommand):
    """Creates the demo and queues its pipeline; prints the logins, or where they are."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--base-model", default="smollm2-135m-instruct")
        parser.add_argument("--no-loop", action="store_true", help="documents and users only")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalog()
        if not active_queues():
            for run in requeue_interrupted():
                self._note(f"restarting an interrupted run: {run}")
        path = Path(settings.HOME) / "demo-logins.json"
        passwords = _stored(path)
        is_new = not passwords
        if is_new:
            passwords = {name: secrets.token_urlsafe(12) for name in USERS}
            draft = path.with_suffix(".draft")
            draft.touch(mode=0o600)
            draft.write_text(json.dumps({"passwords": passwords}))
            draft.rename(path)
        users = self._users(passwords)
        project = self._project(users)
        if not options["no_loop"] and not PipelineRun.objects.filter(project=project).exists():
            self._queue_pipeline(project, users["erik"], options["base_model"])
        for name, role in USERS.items():
            self.stdout.write(f"  {role.label:10} {name:6} {passwords[name] if is_new else ''}".rstrip())
        if not is_new:
            self.stdout.write(f"  Their passwords are in {path}.")

    def _note(self, text: str) -> None:
        """Writes progress to standard error; standard output has only the logins."""
        self.stderr.write(text, self.style.NOTICE)

    def _users(self, passwords: dict[str, str]) -> dict[str, Any]:
        """The three users."""
        users = {}
        creators = Group.objects.get(name=GROUP)
        for name in USERS:
            user, created = get_user_model().objects.get_or_create(username=name)
            if not created and not user.memberships.filter(project__slug=SLUG).exists() and user.has_usable_password():
                raise CommandError(f"The database already has a user {name}. Run the demo on a separate database.")
            if not user.check_password(passwords[name]):
                user.set_password(passwords[name])
                user.save(update_fields=["password"])
            user.groups.add(creators)
            users[name] = user
        return users

    def _project(self, users: dict[str, Any]) -> Project:
        project = Project.objects.filter(slug=SLUG).first()
        if project is not None and not project.memberships.filter(user__username=OWNER, role=Role.OWNER).exists():
            raise CommandError(f"The database already has a project {SLUG}. Run the demo on a separate database.")
        if project is None:
            owner, created = get_user_model().objects.get_or_create(username=OWNER)
            if created:
                owner.set_unusable_password()
                owner.save(update_fields=["password"])
            project = create_project(
                owner=owner,
                name="Invoices",
                slug=SLUG,
                template="invoice",
                members={user: USERS[name] for name, user in users.items()},
            )
        if project.documents.count() < DOCUMENTS:
            self._note(f"generating {DOCUMENTS} invoices")
            samples = islice(generate(DOCUMENTS, SEED), DOCUMENTS)
            rows = (ParsedRow(number, _row(sample, number)) for number, sample in enumerate(samples, start=1))
            import_rows(project=project, rows=rows, source="generator", synthetic=True, user=None)
        return project

    def _queue_pipeline(self, project: Project, engineer: Any, slug: str) -> None:
        base_model: BaseModel = find_base_model(slug)
        if not base_model.is_prepared:
            self._note(f"preparing {base_model} (one time, about a minute)")
            base_model = prepare(base_model=base_model)
        dataset = DatasetVersion.objects.filter(project=project).order_by("-number").first()
        if dataset is None:
            dataset = freeze(project=project, user=engineer, seed=SEED, validation_share=0.06)
        report = measure_lengths(dataset=dataset, base_model=base_model, user=engineer)
        # `make demo` has no worker yet, so measure here. The queued job then finds the run claimed.
        measure_lengths_job(report.pk)
        report.refresh_from_db()
        if report.status != Status.DONE:
            self._note(f"The pipeline was not queued: {report.error or report.get_status_display().lower()}")
            return
        hyperparameters = default_hyperparameters(dataset=dataset, base_model=base_model)
        start_pipeline(
            project=project,
            user=engineer,
            dataset=dataset,
            base_model=base_model,
            hyperparameters=hyperparameters,
            name="demo",
        )
        self._note("queued: evaluation of the base model, fine-tuning, evaluation on validation and hold-out, gates")


def _stored(path: Path) -> dict[str, str]:
    """The passwords of an earlier call; none where an older version made one for all."""
    if not path.exists():
        return {}
    stored: dict[str, str] = json.loads(path.read_text()).get("passwords", {})
    return stored


def _row(sample: Sample, number: int) -> dict[str, Any]:
    """A sample as an import row; the last WAITING rows have no gold."""
    row: dict[str, Any] = {"id": sample.external_id, "text": sample.text, "tags": sample.tags}
    if number <= DOCUMENTS - WAITING:
        row["gold"] = sample.gold
    return row
