"""``manage.py setup_demo``: the demo project, its three users, and queued runs.

An encoder goes through the whole pipeline to its gate report. A decoder is fine-tuned for comparison; a benchmark on
validation documents has both, the decoder as it came, and extraction rules.

The passwords are printed when they are made, and stored in a file that only this account reads. Every step is skipped
if it is done, so a second call is quick and an interrupted call resumes.
"""

import json
import secrets
import time
from argparse import ArgumentParser
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from evaluation.benchmarks.services import start_benchmark
from evaluation.inference.model_columns import ClassicalKind
from evaluation.models import EvalRun
from evaluation.pipeline.services import default_mode, start_pipeline
from evaluation.runs.services import start_evaluation
from labeling.datasets.freeze import freeze
from labeling.demo.samples import Sample, generate
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetVersion, Project, Split
from labeling.projects.services import create_project
from slmstudio.access import Role
from slmstudio.accounts.global_permissions import GROUP
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import requeue_interrupted
from slmstudio.workers.live_workers import active_queues
from training.base_models.preparation import prepare
from training.base_models.services import find_base_model, sync_catalog
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.models import BaseModel, TrainingRun
from training.runs.jobs import measure_lengths as measure_lengths_job
from training.runs.services import measure_lengths, start_training

SLUG = "invoices"
OWNER = "demo-owner"
#: With 1,000 gold labels 400 documents are held out: the first evaluation on a hold-out needs 367 to prove that 99% of
#: outputs are valid.
DOCUMENTS = 1040
WAITING = 40
HOLDOUT_SHARE, VALIDATION_SHARE = 0.4, 0.1
#: training documents of the decoder, which takes three minutes for them on two cores
DECODER_DOCUMENTS = 150
BENCHMARK_DOCUMENTS = 30
ENCODER = "all-minilm-l6-v2"
#: the longest wait for a worker that measures token lengths
LENGTHS_SECONDS = 600
SEED = 17
USERS = {"ana": Role.ANNOTATOR, "erik": Role.ENGINEER, "mona": Role.MANAGER}


class Command(BaseCommand):
    """Creates the demo and queues its runs; prints the logins, or where they are."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--base-model", default="smollm2-135m-instruct", help="slug of the decoder")
        parser.add_argument("--encoder", default=ENCODER, help='slug of the encoder; "": none')
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
            passwords = {name: secrets.token_urlsafe(16) for name in USERS}
            draft = path.with_suffix(".draft")
            draft.touch(mode=0o600)
            draft.write_text(json.dumps({"passwords": passwords}))
            draft.rename(path)
        users = self._users(passwords)
        project = self._project(users)
        if not options["no_loop"] and not TrainingRun.objects.filter(project=project).exists():
            self._queue_runs(project, users["erik"], options["base_model"], options["encoder"])
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
        if project.documents.count() < DOCUMENTS and not project.datasets.exists():
            self._note(f"generating {DOCUMENTS} invoices")
            samples = islice(generate(DOCUMENTS, SEED), DOCUMENTS)
            rows = (ParsedRow(number, _row(sample, number)) for number, sample in enumerate(samples, start=1))
            import_rows(project=project, rows=rows, source="generator", synthetic=True, user=None)
        return project

    def _queue_runs(self, project: Project, engineer: Any, decoder_slug: str, encoder_slug: str) -> None:
        """The pipeline of the encoder, then the decoder and the benchmark of both, in the order of one worker."""
        decoder, encoder = self._prepared(decoder_slug), self._encoder(encoder_slug)
        dataset = DatasetVersion.objects.filter(project=project).order_by("-number").first()
        if dataset is None:
            dataset = freeze(
                project=project,
                user=engineer,
                seed=SEED,
                validation_share=VALIDATION_SHARE,
                holdout_share=HOLDOUT_SHARE,
            )
        if all(self._has_lengths(dataset, model, engineer) for model in (encoder, decoder) if model is not None):
            with transaction.atomic():
                self._start(project, engineer, dataset, encoder, decoder)

    def _start(
        self, project: Project, engineer: Any, dataset: DatasetVersion, encoder: BaseModel | None, decoder: BaseModel
    ) -> None:
        runs: dict[str, Any] = {"project": project, "user": engineer, "dataset": dataset}
        candidates: list[Any] = []
        if encoder is not None:
            hyperparameters = default_hyperparameters(dataset=dataset, base_model=encoder, method="full")
            pipeline = start_pipeline(base_model=encoder, hyperparameters=hyperparameters, name="demo, encoder", **runs)
            self._note("queued: training of the encoder, evaluation on validation and hold-out, gates")
            candidates.append(pipeline.training_run)
        training = dataset.items.filter(split=Split.TRAIN).count()
        share = min(1.0, DECODER_DOCUMENTS / training)
        hyperparameters = default_hyperparameters(dataset=dataset, base_model=decoder, rows=round(share * training))
        hyperparameters = replace(hyperparameters, train_share=share)
        tuned = start_training(base_model=decoder, hyperparameters=hyperparameters, name="demo, decoder", **runs)
        start_evaluation(model=tuned, split=Split.VALIDATION, mode=default_mode(dataset), **runs)
        if dataset.items.filter(split=Split.VALIDATION).count() >= BENCHMARK_DOCUMENTS:
            candidates += [tuned, decoder, ClassicalKind.RULES]
            modes = [EvalRun.Mode.CONSTRAINED]
            start_benchmark(
                project=project, user=engineer, candidates=candidates, modes=modes, documents=BENCHMARK_DOCUMENTS
            )
        self._note("queued: fine-tuning of the decoder, its evaluation, and a benchmark of both with extraction rules")

    def _encoder(self, slug: str) -> BaseModel | None:
        try:
            return self._prepared(slug) if slug else None
        except Refused as refusal:
            self._note(f"The demo runs without an encoder. {refusal.message}")
            return None

    def _prepared(self, slug: str) -> BaseModel:
        base_model: BaseModel = find_base_model(slug)
        if not base_model.is_prepared:
            self._note(f"preparing {base_model} (one time, up to a minute)")
            base_model = prepare(base_model=base_model)
        return base_model

    def _has_lengths(self, dataset: DatasetVersion, base_model: BaseModel, engineer: Any) -> bool:
        """Measures the token lengths: `make demo` has no worker yet. The queued job then finds the run claimed; where a
        worker was faster, waits for it."""
        report = measure_lengths(dataset=dataset, base_model=base_model, user=engineer)
        measure_lengths_job(report.pk)
        report.refresh_from_db()
        until = time.monotonic() + LENGTHS_SECONDS
        while report.is_live and time.monotonic() < until:
            time.sleep(0.5)
            report.refresh_from_db()
        if report.status != Status.DONE:
            self._note(f"No run was queued: {report.error or report.get_status_display().lower()}")
        return report.status == Status.DONE


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
