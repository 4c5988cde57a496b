"""``manage.py optimize_prompt PROJECT --model base-NAME``: searches for a better prompt on validation documents.

The prompt is a candidate of ``manage.py benchmark`` then, as ``prompt-NUMBER``.
"""

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.management.commands.benchmark import owner_of
from evaluation.models import PromptSearch
from evaluation.prompts import services
from evaluation.prompts.forms import prompted_models
from labeling.models import Project
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.text.formatting import percent
from slmstudio.workers.live_workers import WorkerGone, ensure_workers
from training.runs.queries import newest_dataset


class Command(BaseCommand):
    """Optimizes the prompt of a base model or an endpoint."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument("--model", required=True, help="base-SLUG or endpoint-NUMBER")
        parser.add_argument("--documents", type=int, default=services.DEFAULT_DOCUMENTS)
        parser.add_argument("--trials", type=int, default=services.DEFAULT_TRIALS)
        parser.add_argument("--minutes", type=int, default=services.DEFAULT_MINUTES)
        parser.add_argument("--cost", type=float, help="in the currency of the contract; no limit by default")
        parser.add_argument("--json", type=Path, help="file for the trials")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        dataset = newest_dataset(project) if project is not None else None
        if project is None or dataset is None:
            raise CommandError(f"No project {options['project']!r} with a dataset version of its current schema.")
        models = prompted_models(project)
        if options["model"] not in models:
            raise CommandError(f"Unknown model {options['model']!r}. Known models: {', '.join(models) or 'none'}.")
        try:
            run = services.start_search(
                project=project, user=owner_of(project), dataset=dataset, model=models[options["model"]],
                documents=options["documents"], max_trials=options["trials"], max_minutes=options["minutes"],
                max_cost=options["cost"],
            )  # fmt: skip
            with ensure_workers(["gpu"], say=self._print) as workers:
                self._watch(run, workers)
        except (Refused, WorkerGone) as refusal:
            raise CommandError(str(refusal)) from refusal
        self._print_result(run, options["json"])

    def _watch(self, run: PromptSearch, workers: Any) -> None:
        try:
            while run.is_live:
                workers.wait()
                run.refresh_from_db()
        except BaseException:
            services.cancel(run=run, user=run.created_by)
            raise

    def _print_result(self, run: PromptSearch, report: Path | None) -> None:
        for number, trial in enumerate(run.trials, start=1):
            examples = len(trial["prompt"]["examples"])
            self._print(
                f"trial {number}: field accuracy {percent(trial['accuracy'])}, {examples} examples, "
                f"{trial['tokens']:,} tokens, {trial['seconds']} s"
            )
        if report is not None:
            report.write_text(json.dumps({"number": run.number, "trials": run.trials}, indent=2) + "\n")
        if run.status != Status.DONE:
            raise CommandError(run.error or f"prompt search {run.number} {run.get_status_display().lower()}")
        self._print(f"prompt-{run.number}: {run.instruction}")

    def _print(self, text: str) -> None:
        self.stdout.write(f"{time.strftime('%H:%M:%S')} {text}")
        self.stdout.flush()
