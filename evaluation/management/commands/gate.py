"""``manage.py gate``: tests the gates of an evaluation, and exits by the verdict.

On the hold-out it creates the gate report, or finds the one with the same verdicts. On validation it is a check: not
stored, without cost, and it cannot be approved. It waits for an evaluation that is queued or running.

Exit codes: 0 PASS, 1 FAIL, 2 NOT PROVEN, 3 no verdict (the evaluation failed, no report can be created, or an error),
64 wrong arguments.
"""

import sys
import time
import traceback
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError
from django.http import Http404

from evaluation.gates.baselines import default_baseline
from evaluation.gates.checks import GateOutcome, junit_xml, run_gates
from evaluation.gates.display import ExitCode, exit_code
from evaluation.gates.policy.definition import GateError, GateSet
from evaluation.models import EvalRun
from labeling.management.users import member_who_may
from labeling.models import Project
from slmstudio.access import Action, project_for
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

POLL_SECONDS = 1.0


class Command(BaseCommand):
    """Tests the gates of an evaluation, for continuous integration."""

    help = __doc__ or ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        return super().create_parser(prog_name, subcommand, formatter_class=RawDescriptionHelpFormatter, **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--evaluation", required=True, type=int, help="number of the evaluation")
        baseline = parser.add_mutually_exclusive_group()
        baseline.add_argument("--baseline", type=int, help="number of its baseline (default: the required one)")
        baseline.add_argument("--no-baseline", action="store_true", help="compare with no baseline")
        parser.add_argument(
            "--gates",
            type=Path,
            help="gate policy as JSON: a check tests it; a report requires it to equal the project's policy",
        )
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument("--junit", type=Path, help="write the gates as a JUnit file")
        parser.add_argument("--user", help="user who creates the report (default: the first member with permission)")

    def run_from_argv(self, argv: list[str]) -> None:
        """Keeps wrong arguments and errors apart from verdicts: Python ends with 2 and 1, which are verdicts here."""
        try:
            self.create_parser(argv[0], argv[1]).parse_args(argv[2:])
        except CommandError as error:
            self.stderr.write(str(error))
            sys.exit(ExitCode.USAGE)
        try:
            super().run_from_argv(argv)
        except Exception:
            traceback.print_exc()
            sys.exit(ExitCode.NO_VERDICT)

    def handle(self, *args: Any, **options: Any) -> None:
        gates = _gates(options["gates"])
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise _no_verdict(f"Project {options['project']!r} not found.")
        run = self._finished(_evaluation(project, options["evaluation"]))
        baseline = None
        if options["baseline"] is not None:
            baseline = _evaluation(project, options["baseline"])
        elif not options["no_baseline"]:
            baseline = default_baseline(run)
        user = member_who_may(project, options["user"], Action.RUN, Action.APPROVE, returncode=ExitCode.NO_VERDICT)
        try:
            project_for(user, project.slug, Action.RUN)
            outcome = run_gates(eval_run=run, baseline=baseline, user=user, gates=gates)
        except Refused as refusal:
            raise _no_verdict(refusal.message) from refusal
        except (PermissionDenied, Http404) as error:
            raise _no_verdict(f"{user} cannot create gate reports: {error}") from error
        if options["junit"] is not None:
            _write(options["junit"], junit_xml(outcome))
        if options["json"]:
            self.stdout.write(dumps(outcome.as_dict()))
        else:
            self._print(outcome)
        sys.exit(exit_code(outcome.status))

    def _finished(self, run: EvalRun) -> EvalRun:
        shown = ""
        while run.is_live:
            progress = f"{run.progress_done} of {run.progress_total}" if run.progress_done else ""
            line = f"evaluation {run.number}: {run.stage or run.get_status_display().lower()} {progress}".rstrip()
            if line != shown:
                self.stderr.write(line)
                shown = line
            time.sleep(POLL_SECONDS)
            run = _evaluation(run.project, run.number)
        if run.status != Status.DONE:
            raise _no_verdict(f"Evaluation {run.number} {run.get_status_display().lower()}. {run.error}".rstrip())
        return run

    def _print(self, outcome: GateOutcome) -> None:
        about = f"evaluation {outcome.eval_run.number}"
        if outcome.report is not None:
            about = f"gate report {outcome.report.number} on {about}"
        self.stdout.write(f"{outcome.status}  {about}: {outcome.sentence}")
        for verdict in outcome.verdicts:
            self.stdout.write(f"  {verdict['gate']['title']}: {verdict['sentence']}")


def _no_verdict(message: str) -> CommandError:
    return CommandError(message, returncode=ExitCode.NO_VERDICT)


def _evaluation(project: Project, number: int) -> EvalRun:
    run: EvalRun | None = project.eval_runs.numbered(number)
    if run is None:
        raise _no_verdict(f"Evaluation {number} not found in {project.slug}.")
    return run


def _gates(path: Path | None) -> GateSet | None:
    """The policy in a file. Raises CommandError with the code of wrong arguments."""
    if path is None:
        return None
    try:
        return GateSet.from_json(loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {error}.", returncode=ExitCode.USAGE) from error
    except JsonError as error:
        message = f"{path} is not valid JSON: {error.message} (line {error.line})."
        raise CommandError(message, returncode=ExitCode.USAGE) from error
    except GateError as error:
        raise CommandError(f"{path}: {error}", returncode=ExitCode.USAGE) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _no_verdict(f"Cannot write {path}: {error.strerror}.") from error
