"""``manage.py train``: a fine-tuning from the command line, through the same service as the page."""

import dataclasses
import time
import types
import typing
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import DatasetVersion, Project
from slmstudio.access import Action, may
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun, Status
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage.sizes import format_bytes
from slmstudio.templatetags.studio import duration
from slmstudio.workers.registry import StartedWorkers, WorkerGone, ensure_workers
from training.base_models.services import find_base_model
from training.estimates.machines import abilities
from training.estimates.services import estimate_for
from training.models import BaseModel, LengthReport, TrainingRun
from training.runs.presets import METHODS, Knobs, problems, with_effective_batch
from training.runs.queries import nobody_works
from training.runs.services import fitting_knobs, measure_lengths, start_training
from training.runs.spec_import import read_spec

POLL_SECONDS = 1.0
#: exit codes beside 0: the run failed; nothing was started; the run was cancelled
FAILED, REFUSED, CANCELLED = 1, 2, 3


class Command(BaseCommand):
    """Queues a run from a RunSpec, or from a dataset and a base model with the preset's knobs.

    Exit codes: 0 started (with --wait: done), 1 the run failed, 2 refused, with a line for each field, 3 cancelled.
    """

    help = "Starts a fine-tuning: from a RunSpec in YAML, or by the preset for a dataset and a base model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="slug of the project")
        parser.add_argument(
            "spec", nargs="?", type=Path, help="a RunSpec in YAML; its dataset and model by their hashes"
        )
        parser.add_argument("--dataset", type=int, help="number of a dataset version (default: the newest)")
        parser.add_argument("--base-model", help="slug of a base model (default: the largest that is prepared)")
        parser.add_argument("--method", default="lora", help="lora, qlora or full; decides the preset")
        parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE", help="turn a knob; repeatable")
        parser.add_argument("--name", default="")
        parser.add_argument("--user", help="whose run it is (default: the project's owner)")
        parser.add_argument(
            "--wait", action="store_true", help="stay until it has ended; starts workers if none listen"
        )
        parser.add_argument("--estimate-only", action="store_true", help="say what it would cost and start nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._run(options)
        except Refused as refusal:
            lines = [_line(field, message) for field, message in refusal.errors.items()]
            raise CommandError("\n".join(lines), returncode=REFUSED) from refusal
        except WorkerGone as gone:
            raise CommandError(str(gone), returncode=FAILED) from gone

    def _run(self, options: dict[str, Any]) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise Refused(f"There is no project {options['project']!r}.", field="project")
        user = _user(project, options["user"])
        dataset, base_model, knobs = _wanted(project, options)
        knobs = turned(knobs, options["set"])
        wrong = problems(knobs, base_model.context, **abilities())
        if wrong:
            first, *_ = wrong
            raise Refused(wrong[first], field=first, errors=wrong)
        report = measure_lengths(dataset=dataset, base_model=base_model, user=user)
        if not report.current:
            self._measured(report)
            base_model.refresh_from_db()
            if options["spec"] is None and not any(one.startswith("max_length=") for one in options["set"]):
                usual = fitting_knobs(dataset=dataset, base_model=base_model, method=knobs.method)
                knobs = dataclasses.replace(knobs, max_length=usual.max_length)
        self._estimate(dataset, base_model, knobs)
        if options["estimate_only"]:
            return
        run = start_training(
            project=project, user=user, dataset=dataset, base_model=base_model, knobs=knobs, name=options["name"]
        )
        self._say(f"run {run.number} is queued: {run.get_absolute_url()}")
        if options["wait"]:
            with ensure_workers(["gpu"], say=self._say) as workers:
                self._follow(run, workers)
        elif nobody := nobody_works("gpu"):
            self._say(nobody)

    def _measured(self, report: LengthReport) -> None:
        self._say(f"measuring the token lengths of dataset v{report.dataset.number} under {report.base_model}")
        with ensure_workers(["default"], say=self._say) as workers:
            self._wait(report, workers)
        if report.status != Status.DONE:
            raise Refused(report.error or "Measuring the token lengths was cancelled.", field="dataset")

    def _estimate(self, dataset: DatasetVersion, base_model: BaseModel, knobs: Knobs) -> None:
        found = estimate_for(dataset=dataset, base_model=base_model, knobs=knobs)
        if found is None:
            return
        limit = f" of {format_bytes(found.memory_limit)} ({found.limit_name})" if found.memory_limit else ""
        took = duration(found.seconds) if found.seconds is not None else "not known before a first run"
        self._say(f"estimate: memory {format_bytes(found.memory_bytes)}{limit}, time {took}")
        self._say(f"estimate: {found.steps:,} steps, {found.tokens:,} tokens; most goes to {found.binding}")
        if found.refusals:
            first, *_ = found.refusals
            raise Refused(found.refusals[first], field=first, errors=found.refusals)

    def _follow(self, run: TrainingRun, workers: StartedWorkers) -> None:
        self._wait(run, workers)
        if run.status == Status.DONE:
            self._say(f"run {run.number} is done: {run.model_version} in {run.model_version.folder_key}/")
        elif run.status == Status.CANCELLED:
            raise CommandError(f"Run {run.number} was cancelled.", returncode=CANCELLED)
        else:
            raise CommandError(f"Run {run.number} failed. {run.error}", returncode=FAILED)

    def _wait(self, run: BackgroundRun, workers: StartedWorkers) -> None:
        said = ""
        while True:
            run.refresh_from_db()
            words = f"  {run.stage or run.status}" + (
                f", step {run.progress_done} of {run.progress_total}" if run.progress_total else ""
            )
            if words != said:
                self._say(words)
                said = words
            if not run.is_live:
                return
            workers.check()
            reap_lost_runs()
            time.sleep(POLL_SECONDS)

    def _say(self, words: str) -> None:
        self.stdout.write(words)
        self.stdout.flush()


def _line(field: str, message: str) -> str:
    return message if message.startswith(f"{field}: ") else f"{field}: {message}"


def _user(project: Project, name: str | None) -> Any:
    if name is None:
        return project.memberships.filter(role="owner").order_by("pk").select_related("user")[0].user
    found = project.memberships.filter(user__username=name).select_related("user").first()
    if found is None or not may(found.role, Action.RUN):
        raise Refused(f"There is no {name!r} who may train in this project.", field="user")
    return found.user


def _wanted(project: Project, options: dict[str, Any]) -> tuple[DatasetVersion, BaseModel, Knobs]:
    """Dataset, base model and knobs as the file says, or as the options and the preset do."""
    if options["spec"] is not None:
        for name in ("dataset", "base_model"):
            if options[name] is not None:
                raise Refused("The file says which; leave the option out.", field=name)
        try:
            text = options["spec"].read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{options['spec']} cannot be read: {error}", field="spec") from error
        proposal = read_spec(project=project, text=text)
        return proposal.dataset, proposal.base_model, proposal.knobs
    versions = DatasetVersion.objects.filter(project=project).order_by("-number")
    if options["dataset"] is not None:
        versions = versions.filter(number=options["dataset"])
    dataset = versions.first()
    if dataset is None:
        asked = f"v{options['dataset']}" if options["dataset"] is not None else "at all"
        raise Refused(f"There is no dataset version {asked} in this project.", field="dataset")
    if options["base_model"] is not None:
        base_model: BaseModel | None = find_base_model(options["base_model"])
    else:
        base_model = BaseModel.objects.exclude(sha256="").order_by("-parameters").first()
    if base_model is None:
        raise Refused("No base model is prepared. Name one with --base-model.", field="base_model")
    if options["method"] not in METHODS:
        raise Refused(f"{options['method']!r} is not one of {', '.join(METHODS)}.", field="method")
    return dataset, base_model, fitting_knobs(dataset=dataset, base_model=base_model, method=options["method"])


def turned(knobs: Knobs, settings: list[str]) -> Knobs:
    """The knobs with ``name=value`` settings applied; ``effective_batch`` sets batch and accumulation together.

    Raises:
        Refused: by knob, for all settings at once: unknown, or a value that is not of its type.
    """
    kinds = {**typing.get_type_hints(Knobs), "effective_batch": int}
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if name not in kinds or not equals:
            errors[name or "set"] = f"is no knob, or has no value; --set takes KNOB=VALUE with {', '.join(kinds)}"
            continue
        try:
            values[name] = _value(kinds[name], text.strip())
        except (ValueError, KeyError):
            errors[name] = f"{text!r} is not {_KIND_WORDS.get(kinds[name], 'a value it takes')}"
    if errors:
        first, *_ = errors
        raise Refused(errors[first], field=first, errors=errors)
    effective = values.pop("effective_batch", None)
    knobs = dataclasses.replace(knobs, **values)
    return with_effective_batch(knobs, max(1, effective)) if effective is not None else knobs


_KIND_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def _value(kind: Any, text: str) -> Any:
    if isinstance(kind, types.UnionType):  # early_stopping: a number, or nothing
        return None if text in ("", "none", "off") else int(text)
    if kind is bool:
        return {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}[text.lower()]
    if typing.get_origin(kind) is tuple:
        return tuple(one.strip() for one in text.split(",") if one.strip() and one.strip() != "none")
    return kind(text)
