"""``manage.py benchmark PROJECT``: models side by side on labelled documents, through the same services and queue.

Ends with 0 where every model was measured, 3 where some were, 1 where none was or the order was refused.
"""

import json
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.benchmarks import results
from evaluation.benchmarks.forms import choices
from evaluation.benchmarks.services import LEAST, MOST, USUAL, Subject, advance, cancel, start_benchmark
from evaluation.models import Benchmark, EvalRun
from labeling.models import Project
from slmstudio.access import Role
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage.sizes import format_bytes
from slmstudio.templatetags.studio import milliseconds, percent
from slmstudio.workers.registry import StartedWorkers, WorkerGone, ensure_workers
from training.base_models.services import sync_catalogue

POLL_SECONDS = 1.0
SOME_FAILED = 3


class Command(BaseCommand):
    """Benchmarks models of a project and says which one to start from."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument(
            "--models",
            required=True,
            help="separated by commas: slugs of base models, version-3 for a model tuned here, endpoint-2 or its name",
        )
        parser.add_argument("--documents", type=int, default=USUAL, help=f"{LEAST} to {MOST}, default {USUAL}")
        parser.add_argument(
            "--modes",
            default=f"{EvalRun.Mode.CONSTRAINED},{EvalRun.Mode.FREE}",
            help=f"of {', '.join(EvalRun.Mode.values)} (default: %(default)s)",
        )
        parser.add_argument("--json", type=Path, help="where the report goes")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalogue()
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        report = options["json"]
        if report is not None:
            _make_writable(report)
        try:
            made = start_benchmark(
                project=project,
                user=_owner(project),
                candidates=_subjects(project, _parts(options["models"])),
                modes=_parts(options["modes"]),
                documents=options["documents"],
            )
            with ensure_workers(["gpu"], say=self._say) as workers:
                self._watch(made, workers)
        except (Refused, WorkerGone) as refusal:
            raise CommandError(str(refusal)) from refusal
        self._tell(made, report)

    def _watch(self, made: Benchmark, workers: StartedWorkers) -> None:
        """Prints each change until it has ended; cancels it where this command is stopped."""
        shown = ""
        try:
            while made.is_live:
                time.sleep(POLL_SECONDS)
                workers.check()
                reap_lost_runs()
                advance(made.pk)
                made.refresh_from_db()
                line = _now(made)
                if line and line != shown:
                    self._say(line)
                    shown = line
        except BaseException:
            cancel(benchmark=made, user=made.created_by)
            raise

    def _tell(self, made: Benchmark, report: Path | None) -> None:
        runs = list(EvalRun.objects.filter(benchmark=made).with_subject().order_by("number"))
        for row in results.rows(made, runs):
            self._say(_line(row, results.limits(made).currency))
        self._say("Intervals of fields are 95 %, by a bootstrap over documents.")
        for text in (made.result.get("sentence"), *made.result.get("notes", [])):
            if text:
                self._say(text)
        if report is not None:
            report.write_text(json.dumps(results.as_report(made, runs), indent=2, default=float) + "\n")
            self._say(f"report: {report}")
        if made.status != Status.DONE:
            raise CommandError(made.error or f"{made} {made.get_status_display()}")
        if any(run.status != Status.DONE for run in runs):
            sys.exit(SOME_FAILED)

    def _say(self, text: str) -> None:
        self.stdout.write(f"{time.strftime('%H:%M:%S')} {text}")
        self.stdout.flush()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _owner(project: Project) -> Any:
    found = project.memberships.filter(role=Role.OWNER).select_related("user").order_by("pk").first()
    return found.user if found else None


def _subjects(project: Project, names: list[str]) -> list[Subject]:
    """The models that are named. Raises Refused, naming those there are."""
    known = [choice for group in choices(project).values() for choice in group]
    by_name = {choice.name: choice.subject for choice in known} | {choice.key: choice.subject for choice in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        there = ", ".join(choice.key for choice in known) or "none"
        raise Refused(f"There is no model {unknown[0]!r}. Known are: {there}.", field="models")
    return [by_name[name] for name in names]


def _now(made: Benchmark) -> str:
    run = EvalRun.objects.filter(benchmark=made, status=Status.RUNNING).with_subject().first()
    if run is None:
        return ""
    return f"{run.subject}, {run.get_mode_display()}: {run.stage} {run.progress_done}/{run.progress_total}"


def _line(row: results.Row, currency: str) -> str:
    run = row.run
    name = f"{run.subject}, {run.get_mode_display()}"
    if not row.done:
        return f"{name:44} {run.get_status_display()}: {run.error}"
    fields = row.fields
    memory = run.facts.get("peak_memory_bytes")
    cost = f"{row.cost.thousand:.3g} {currency}" if row.cost.thousand is not None else "–"
    return (
        f"{name:44} fields {percent(fields['rate'])} ({percent(fields['low'])} to {percent(fields['high'])})  "
        f"valid {percent(run.scores['schema_valid']['rate'])}  p50 {milliseconds(run.latency['p50'])}  "
        f"p95 {milliseconds(run.latency['p95'])}  memory {format_bytes(memory) if memory else '–'}  "
        f"1,000 documents {cost}"
    )


def _make_writable(path: Path) -> None:
    """So that a path that cannot be written is known before the work."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
