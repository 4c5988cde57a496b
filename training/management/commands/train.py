"""``manage.py train``: starts a training run from the command line, through the same service as the page."""

import dataclasses
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import DatasetVersion, Project
from slmstudio.access import Action, may
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun, Status
from slmstudio.text.formatting import duration, format_bytes
from slmstudio.workers.live_workers import StartedWorkers, WorkerGone, ensure_workers, no_worker_message
from training.base_models.services import find_base_model
from training.estimates.services import capabilities, estimate_for, recommended_method
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.hyperparameters.definitions import METHODS, Hyperparameters
from training.hyperparameters.presets import with_effective_batch
from training.hyperparameters.validation import problems
from training.models import BaseModel, TrainingRun
from training.runs.services import measure_lengths, start_training
from training.runs.spec_import import import_spec

#: exit codes besides 0: the run failed; rejected; cancelled
FAILED, REJECTED, CANCELLED = 1, 2, 3


class Command(BaseCommand):
    """Queues a run from a RunSpec, or from a dataset and a base model with the preset's hyperparameters.

    Exit codes: 0 started (with --wait: done), 1 the run failed, 2 rejected, with a line per field, 3 cancelled.
    """

    help = "Starts a training run, from a RunSpec in YAML or with the preset for a dataset and a base model."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="slug of the project")
        parser.add_argument(
            "spec", nargs="?", type=Path, help="a RunSpec in YAML; its dataset and model by their hashes"
        )
        parser.add_argument("--dataset", type=int, help="number of a dataset version (default: the newest)")
        parser.add_argument("--base-model", help="slug of a base model (default: the largest decoder that is prepared)")
        parser.add_argument("--method", help="lora, qlora or full; decides the preset (default: the recommended one)")
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="set a hyperparameter; repeatable"
        )
        parser.add_argument("--name", default="")
        parser.add_argument("--user", help="user who starts the run (default: the project's owner)")
        parser.add_argument(
            "--wait", action="store_true", help="wait until it has ended; starts workers if there are none"
        )
        parser.add_argument("--estimate-only", action="store_true", help="print the estimate and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._run(options)
        except Refused as refusal:
            lines = [_error_line(field, message) for field, message in refusal.errors.items()]
            raise CommandError("\n".join(lines), returncode=REJECTED) from refusal
        except WorkerGone as gone:
            raise CommandError(str(gone), returncode=FAILED) from gone

    def _run(self, options: dict[str, Any]) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise Refused(f"Project {options['project']!r} not found.", field="project")
        user = project_user(project, options["user"])
        dataset, base_model, hyperparameters = _run_inputs(project, options)
        wrong = problems(hyperparameters, base_model.context, encoder=base_model.is_encoder, **capabilities())
        if wrong:
            first, *_ = wrong
            raise Refused(wrong[first], field=first, errors=wrong)
        measured = wait_for_lengths(dataset, base_model, user, say=self._print)
        if measured and options["spec"] is None:
            hyperparameters = _preset(dataset, base_model, options)
        self._print(f"method: {hyperparameters.method}, {hyperparameters.epochs:g} epochs")
        self._estimate(dataset, base_model, hyperparameters)
        if options["estimate_only"]:
            return
        run = start_training(
            project=project,
            user=user,
            dataset=dataset,
            base_model=base_model,
            hyperparameters=hyperparameters,
            name=options["name"],
        )
        self._print(f"run {run.number} is queued: {run.get_absolute_url()}")
        if options["wait"]:
            with ensure_workers(["gpu"], say=self._print) as workers:
                self._follow(run, workers)
        elif message := no_worker_message("gpu", for_administrator=True):
            self._print(message)

    def _estimate(self, dataset: DatasetVersion, base_model: BaseModel, hyperparameters: Hyperparameters) -> None:
        estimate = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=hyperparameters)
        if estimate is None:
            return
        limit = f" of {format_bytes(estimate.memory_limit)} ({estimate.limit_name})" if estimate.memory_limit else ""
        took = duration(estimate.seconds) if estimate.seconds is not None else "unknown before the first run"
        self._print(f"estimate: memory {format_bytes(estimate.memory_bytes)}{limit}, time {took}")
        self._print(
            f"estimate: {estimate.steps:,} steps, {estimate.tokens:,} tokens; largest part: {estimate.largest_part}"
        )
        if estimate.problems:
            first, *_ = estimate.problems
            raise Refused(estimate.problems[first], field=first, errors=estimate.problems)

    def _follow(self, run: TrainingRun, workers: StartedWorkers) -> None:
        wait_for(run, workers, say=self._print)
        if run.status == Status.DONE:
            model = run.model_version
            assert model is not None
            self._print(f"run {run.number} is done: {model} in {model.folder_key}/")
        elif run.status == Status.CANCELLED:
            raise CommandError(f"Run {run.number} was cancelled.", returncode=CANCELLED)
        else:
            raise CommandError(f"Run {run.number} failed. {run.error}", returncode=FAILED)

    def _print(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _error_line(field: str, message: str) -> str:
    return message if message.startswith(f"{field}: ") else f"{field}: {message}"


def wait_for_lengths(dataset: DatasetVersion, base_model: BaseModel, user: Any, *, say: Callable[[str], None]) -> bool:
    """Has the token lengths of a dataset measured where they are not; True where it did.

    Raises:
        Refused: they could not be measured.
    """
    report = measure_lengths(dataset=dataset, base_model=base_model, user=user)
    if report.is_current:
        return False
    say(f"measuring the token lengths of dataset v{report.dataset.number} under {report.base_model}")
    with ensure_workers(["default"], say=say) as workers:
        wait_for(report, workers, say=say)
    if report.status != Status.DONE:
        raise Refused(report.error or "Measuring the token lengths was cancelled.", field="dataset")
    base_model.refresh_from_db()
    return True


def wait_for(run: BackgroundRun, workers: StartedWorkers, *, say: Callable[[str], None]) -> None:
    """Waits until a run has ended, and prints its progress."""
    printed = ""
    while True:
        run.refresh_from_db()
        line = f"  {run.stage or run.status}" + (
            f", step {run.progress_done} of {run.progress_total}" if run.progress_total else ""
        )
        if line != printed:
            say(line)
            printed = line
        if not run.is_live:
            return
        workers.wait()


def project_user(project: Project, name: str | None) -> Any:
    """The member with this name, who must be allowed to train; by default the owner."""
    if name is None:
        return project.memberships.filter(role="owner").order_by("pk").select_related("user")[0].user
    member = project.memberships.filter(user__username=name).select_related("user").first()
    if member is None or not may(member.role, Action.RUN):
        raise Refused(f"User {name!r} cannot train in this project.", field="user")
    return member.user


def _run_inputs(project: Project, options: dict[str, Any]) -> tuple[DatasetVersion, BaseModel, Hyperparameters]:
    """Dataset, base model and hyperparameters from the file, or from the options and the preset."""
    if options["spec"] is not None:
        for name in ("dataset", "base_model"):
            if options[name] is not None:
                raise Refused("The file contains it; remove the option.", field=name)
        try:
            text = options["spec"].read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{options['spec']} cannot be read: {error}", field="spec") from error
        dataset, base_model, hyperparameters = import_spec(project=project, text=text)
        return dataset, base_model, with_settings(hyperparameters, options["set"])
    versions = DatasetVersion.objects.filter(project=project).order_by("-number")
    if options["dataset"] is not None:
        versions = versions.filter(number=options["dataset"])
    newest = versions.first()
    if newest is None:
        if options["dataset"] is None:
            raise Refused("This project has no dataset version. Freeze one first.", field="dataset")
        raise Refused(f"Dataset version v{options['dataset']} not found in this project.", field="dataset")
    if options["base_model"] is not None:
        model: BaseModel | None = find_base_model(options["base_model"])
    else:
        model = BaseModel.objects.decoders().prepared().order_by("-parameters").first()
    if model is None:
        raise Refused("No base model is prepared. Set one with --base-model.", field="base_model")
    if options["method"] not in (None, *METHODS):
        raise Refused(f"{options['method']!r} is not one of {', '.join(METHODS)}.", field="method")
    return newest, model, _preset(newest, model, options)


def _preset(dataset: DatasetVersion, base_model: BaseModel, options: dict[str, Any]) -> Hyperparameters:
    """The preset of the chosen method with the settings; of the recommended one where none is about a method."""
    method = options["method"]
    if method is None:
        is_set = any(setting.startswith(("method", "lora_", "lora-")) for setting in options["set"])
        method = (
            "lora"
            if is_set and not base_model.is_encoder
            else recommended_method(dataset=dataset, base_model=base_model)[0]
        )
    usual = default_hyperparameters(dataset=dataset, base_model=base_model, method=method)
    return with_settings(usual, options["set"])


def with_settings(hyperparameters: Hyperparameters, settings: list[str]) -> Hyperparameters:
    """The hyperparameters with ``name=value`` settings applied; ``effective_batch`` sets batch size and accumulation.

    Raises:
        Refused: a message per setting that is unknown or whose value is of another type.
    """
    defaults = {**dataclasses.asdict(Hyperparameters()), "effective_batch": 1}
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if name not in defaults or not equals:
            errors[name or "set"] = (
                f"Unknown hyperparameter, or no value given. Use NAME=VALUE with {', '.join(defaults)}."
            )
            continue
        try:
            values[name] = _value(defaults[name], text.strip())
        except (ValueError, KeyError):
            errors[name] = f"{text!r} is not {TYPE_NAMES.get(type(defaults[name]), 'a valid value')}"
    if errors:
        first, *_ = errors
        raise Refused(errors[first], field=first, errors=errors)
    effective = values.pop("effective_batch", None)
    hyperparameters = dataclasses.replace(hyperparameters, **values)
    return with_effective_batch(hyperparameters, max(1, effective)) if effective is not None else hyperparameters


TYPE_NAMES: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false"}


def _value(default: Any, text: str) -> Any:
    if default is None:  # early_stopping: a number, or nothing
        return None if text in ("", "none", "off") else int(text)
    if isinstance(default, bool):
        return {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}[text.lower()]
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip() and part.strip() != "none")
    return type(default)(text)
