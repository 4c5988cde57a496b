"""``manage.py reproduce``: makes the model and the outputs of a gate report again, and says what differs.

Exit codes: 0 equal, 1 something differs, 2 it cannot be reproduced here.
"""

import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

from evaluation.models import GateReport
from evaluation.reproduction.services import Reproduction, reproduce
from slmstudio.errors import Refused

_MAX_LISTED = 10
_CANNOT = 2


class Command(BaseCommand):
    """Reproduces a gate report in the foreground, on a machine like that of the report. The project does not change."""

    help = __doc__ or ""
    _stage = ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("report", type=int, help="number of the gate report")
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument(
            "--outputs", action="store_true", help="reuse the stored model and reproduce only the outputs"
        )
        parser.add_argument("--folder", type=Path, help="keep the files here; default: a temporary folder")

    def handle(self, *args: Any, **options: Any) -> None:
        reports = GateReport.objects.with_content()
        report = reports.filter(project__slug=options["project"], number=options["report"]).first()
        if report is None:
            self._end(f"Gate report {options['report']} not found in {options['project']}.")
        try:
            with _folder(options["folder"]) as folder:
                result = reproduce(
                    report=report, folder=folder, outputs_only=options["outputs"], progress=self._on_progress
                )
        except Refused as refused:
            self._end(refused.message)
        for line in _lines(result):
            self.stdout.write(line)
        sys.exit(0 if result.is_equal else 1)

    def _end(self, message: str) -> NoReturn:
        self.stderr.write(message)
        sys.exit(_CANNOT)

    def _on_progress(self, stage: str, done: int, total: int) -> None:
        """A line for each tenth, and one for a stage of unknown length."""
        if not total:
            if stage != self._stage:
                self.stdout.write(f"{stage} ...")
        elif done == total or done * 10 // total != (done - 1) * 10 // total:
            self.stdout.write(f"{stage}: {done} of {total}")
        self._stage = stage
        self.stdout.flush()


@contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is None:
        with tempfile.TemporaryDirectory(prefix="reproduction-") as made:
            yield Path(made)
        return
    path.mkdir(parents=True, exist_ok=True)
    yield path.resolve()


def _lines(result: Reproduction) -> Iterator[str]:
    for step, changes in result.environment.items():
        subject = "Application" if step == "application" else f"Environment of the {step}"
        yield f"{subject}: {'changed' if changes else 'equal'}"
        yield from (f"  {change}" for change in changes)
    if result.files is not None:
        yield f"Model: {'differs in ' + ', '.join(result.files) if result.files else 'equal, file by file'}"
    yield f"Outputs: {result.documents - len(result.outputs)} of {result.documents} equal"
    if result.outputs:
        more = f" and {len(result.outputs) - _MAX_LISTED} more" if len(result.outputs) > _MAX_LISTED else ""
        yield f"  different: {', '.join(result.outputs[:_MAX_LISTED])}{more}"
    for title, changes in (("Scores", result.rates), ("Verdicts", result.verdicts)):
        yield f"{title}: {'different' if changes else 'equal'}"
        yield from (f"  {change}" for change in changes)
    yield ", ".join(f"{step} {seconds:g} s" for step, seconds in result.seconds.items())
    yield "Equal." if result.is_equal else "The reproduction differs from the report."
