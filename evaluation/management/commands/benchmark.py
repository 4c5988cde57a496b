"""``manage.py benchmark PROJECT``: benchmarks models on labeled documents, with the services of the web interface.

Exit codes: 0 every model was measured, 3 some were, 1 none was or the arguments were refused.
"""

import json
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.benchmarks import results
from evaluation.benchmarks.forms import candidate_choices
from evaluation.benchmarks.services import (
    DEFAULT_DOCUMENTS,
    MAX_DOCUMENTS,
    MIN_DOCUMENTS,
    Candidate,
    advance,
    cancel,
    start_benchmark,
)
from evaluation.models import Benchmark, EvalRun
from labeling.models import Project
from slmstudio.access import Role
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.text.formatting import format_bytes, format_money, milliseconds, percent
from slmstudio.workers.live_workers import StartedWorkers, WorkerGone, ensure_workers
from training.base_models.services import sync_catalog

SOME_FAILED = 3


class Command(BaseCommand):
    """Benchmarks models of a project and recommends one to fine-tune."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument(
            "--models",
            required=True,
            help="comma-separated: slugs of base models, classical-tfidf, classical-embeddings or classical-rules, "
            "prompt-4 for an optimized prompt, version-3 for a fine-tuned model, endpoint-2 or its name",
        )
        parser.add_argument(
            "--documents",
            type=int,
            default=DEFAULT_DOCUMENTS,
            help=f"{MIN_DOCUMENTS} to {MAX_DOCUMENTS}, default {DEFAULT_DOCUMENTS}",
        )
        parser.add_argument(
            "--modes",
            default=f"{EvalRun.Mode.CONSTRAINED},{EvalRun.Mode.FREE}",
            help=f"comma-separated: {', '.join(EvalRun.Mode.values)} (default: %(default)s)",
        )
        parser.add_argument("--json", type=Path, help="file for the report")

    def handle(self, *args: Any, **options: Any) -> None:
        sync_catalog()
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"Project {options['project']!r} not found.")
        report = options["json"]
        if report is not None:
            _make_writable(report)
        try:
            benchmark = start_benchmark(
                project=project,
                user=owner_of(project),
                candidates=_candidates(project, _parts(options["models"])),
                modes=_parts(options["modes"]),
                documents=options["documents"],
            )
            with ensure_workers(["gpu"], say=self._print) as workers:
                self._watch(benchmark, workers)
        except (Refused, WorkerGone) as refusal:
            raise CommandError(str(refusal)) from refusal
        self._print_result(benchmark, report)

    def _watch(self, benchmark: Benchmark, workers: StartedWorkers) -> None:
        """Prints progress until the benchmark has ended; cancels it when this command is stopped."""
        shown = ""
        try:
            while benchmark.is_live:
                workers.wait()
                advance(benchmark.pk)
                benchmark.refresh_from_db()
                line = _now(benchmark)
                if line and line != shown:
                    self._print(line)
                    shown = line
        except BaseException:
            cancel(run=benchmark, user=benchmark.created_by)
            raise

    def _print_result(self, benchmark: Benchmark, report: Path | None) -> None:
        runs = list(EvalRun.objects.filter(benchmark=benchmark).with_model().order_by("number"))
        for row in results.rows(benchmark, runs):
            self._print(_line(row, results.limits(benchmark).currency))
        self._print("Intervals are 95%, with the document as their unit.")
        for text in (
            benchmark.result.get("fine_tuning"),
            benchmark.result.get("sentence"),
            *benchmark.result.get("notes", []),
        ):
            if text:
                self._print(text)
        if report is not None:
            report.write_text(json.dumps(results.as_report(benchmark, runs), indent=2, default=float) + "\n")
            self._print(f"report: {report}")
        if benchmark.status != Status.DONE:
            raise CommandError(benchmark.error or f"{benchmark} {benchmark.get_status_display().lower()}")
        if any(run.status != Status.DONE for run in runs):
            sys.exit(SOME_FAILED)

    def _print(self, text: str) -> None:
        self.stdout.write(f"{time.strftime('%H:%M:%S')} {text}")
        self.stdout.flush()


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def owner_of(project: Project) -> Any:
    """The user that commands act as."""
    found = project.memberships.filter(role=Role.OWNER).select_related("user").order_by("pk").first()
    return found.user if found else None


def _candidates(project: Project, names: list[str]) -> list[Candidate]:
    """The named models. Raises Refused with the known names."""
    known = [choice for group in candidate_choices(project).values() for choice in group]
    by_name = {choice.name: choice.candidate for choice in known} | {choice.key: choice.candidate for choice in known}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        names_known = ", ".join(choice.key for choice in known) or "none"
        raise Refused(f"Unknown model {unknown[0]!r}. Known models: {names_known}.", field="models")
    return [by_name[name] for name in names]


def _now(benchmark: Benchmark) -> str:
    run = EvalRun.objects.filter(benchmark=benchmark, status=Status.RUNNING).with_model().first()
    if run is None:
        return ""
    return f"{run.model_label}, {run.get_mode_display().lower()}: {run.stage} {run.progress_done}/{run.progress_total}"


def _line(row: results.BenchmarkRow, currency: str) -> str:
    run = row.run
    name = f"{run.model_label}, {run.get_mode_display().lower()}" if run.backend.decodes else run.model_label
    if not row.done:
        return f"{name:44} {run.get_status_display().lower()}: {run.error}"
    fields = row.fields
    memory = run.facts.get("peak_memory_bytes")
    cost = format_money(row.cost.per_thousand, currency)
    return (
        f"{name:44} fields {percent(fields['rate'])} ({percent(fields['low'])} to {percent(fields['high'])})  "
        f"valid {percent(run.scores['schema_valid']['rate'])}  p50 {milliseconds(run.latency['p50'])}  "
        f"p95 {milliseconds(run.latency['p95'])}  memory {format_bytes(memory) if memory else '–'}  "
        f"cost per 1,000 documents {cost}  labels {'–' if row.labels is None else f'{row.labels:,}'}  "
        f"gates {row.verdict.get('status', '–')}"
    )


def _make_writable(path: Path) -> None:
    """Creates the file, so that an unwritable path fails at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error.strerror}.") from error
