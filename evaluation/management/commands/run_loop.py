"""``manage.py run_loop``: the pipeline on the command line, with the services and queues of the web interface."""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.files import File
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils.text import slugify

from evaluation.gates.holdout.disclosure import open_outputs
from evaluation.gates.holdout.evaluation_numbers import upcoming_number
from evaluation.gates.holdout.price import price_sentence
from evaluation.gates.policy.definition import GateError
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.pipeline.report import pipeline_report, write_outputs
from evaluation.pipeline.rows import RowsError, SourceLine, split_rows
from evaluation.pipeline.services import EVALUATIONS, advance, cancel_pipeline, stages, start_pipeline
from labeling.contract.errors import ContractError
from labeling.datasets.ceiling import ceiling_of
from labeling.datasets.freeze import freeze
from labeling.datasets.freeze_rules import Rules
from labeling.datasets.silver import METHODS as SILVER_METHODS
from labeling.datasets.splits import EXCLUSION_REASONS
from labeling.imports.formats.page_layout import LAYOUT
from labeling.imports.services import start_import
from labeling.models import DatasetVersion, Project, Split
from labeling.projects.services import ProjectError, create_project, save_contract
from slmstudio.access import Role
from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.database.migrated import MigrationsMissing, unapplied
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun, Status
from slmstudio.stack.environment import is_embedded
from slmstudio.stack.paths import Paths
from slmstudio.storage.installation import COMMAND, home
from slmstudio.text.formatting import milliseconds, percent
from slmstudio.workers.live_workers import StartedWorkers, WorkerGone, ensure_workers
from training.base_models.preparation import prepare
from training.base_models.services import find_base_model, register_folder, sync_catalog
from training.estimates.services import recommended_method
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.hyperparameters.definitions import METHODS
from training.models import BaseModel
from training.runs.services import measure_lengths

OWNER = "run-loop"
#: the queues of the jobs below: token lengths, imports, the pipeline
QUEUES = ["default", "imports", "gpu"]
_REFUSALS = (
    *(Refused, RowsError),
    *(ProjectError, ContractError, GateError, WorkerGone),
)


class Command(BaseCommand):
    """Import, freeze, benchmark, fine-tune, evaluate, compare, gate, report."""

    help = __doc__ or ""
    workers: StartedWorkers

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--template", required=True, help="a template from the catalog, such as receipt")
        parser.add_argument(
            "--contract", type=Path, help='JSON {"instruction", "schema", "constraints"} instead of the template\'s'
        )
        parser.add_argument("--gates", type=Path, help="a gate policy as JSON, set before the first run starts")
        parser.add_argument("--train", required=True, type=Path, help='JSONL rows {"id", "text", "gold", ...}')
        parser.add_argument("--holdout", type=Path, help="JSONL (default: a seeded share of --train)")
        parser.add_argument(
            "--base-model",
            default="smollm2-135m-instruct",
            help="a decoder or an encoder: its slug, or a folder with its files (default: %(default)s)",
        )
        parser.add_argument("--max-train", type=int, help="maximum number of training rows, sampled with --seed")
        parser.add_argument("--max-holdout", type=int, help="maximum number of hold-out rows, sampled with --seed")
        parser.add_argument("--holdout-share", type=float, default=0.2)
        parser.add_argument("--validation-share", type=float, default=0.05)
        parser.add_argument(
            "--method", choices=METHODS, help="default: full for an extraction with a small model that fits, else lora"
        )
        parser.add_argument("--epochs", type=float, help="default: from the preset")
        parser.add_argument("--learning-rate", type=float, help="default: from the preset")
        parser.add_argument("--seed", type=int, default=17, help="seed of sampling and training (default: %(default)s)")
        parser.add_argument(
            "--layout",
            action="store_true",
            help="lay out the text as on the page; rows need the boxes of their pages",
        )
        parser.add_argument(
            "--silver",
            default="",
            choices=SILVER_METHODS,
            help="also train on silver labels: pre-labels of rows without gold that pass every check",
        )
        parser.add_argument(
            "--owner",
            default=OWNER,
            help="account that owns the project (default: %(default)s, created without a password if missing)",
        )
        parser.add_argument(
            "--member", action="append", default=[], metavar="USER:ROLE", help="another member; repeatable"
        )
        parser.add_argument("--project", help="slug of the new project (default: from the template)")
        parser.add_argument("--report", type=Path, help="path of the JSON report")
        parser.add_argument(
            "--outputs",
            type=Path,
            help="folder for the outputs, one JSONL file per evaluation; opens those on the hold-out",
        )
        parser.add_argument(
            "--no-free", action="store_true", help="skip the two evaluations with unconstrained decoding"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        self._migrate_embedded()
        try:
            with ensure_workers(QUEUES, say=self._say) as self.workers:
                self._run(options)
        except _REFUSALS as refusal:
            raise CommandError(str(refusal)) from refusal

    def _migrate_embedded(self) -> None:
        """Migrates the embedded database. An external server is migrated by its administrator."""
        if not (missing := unapplied()):
            return
        if not is_embedded("postgres"):
            raise MigrationsMissing(missing)
        # In a child process: the role of this process owns no table.
        command = [*COMMAND, "migrate", "--verbosity=0"]
        owner = {"DATABASE_OWNER_URL": Paths.of(home()).database_owner_url}
        subprocess.run(command, cwd=settings.BASE_DIR, env={**os.environ, **owner}, check=True)

    def _run(self, options: dict[str, Any]) -> None:
        sync_catalog()
        base_model = _base_model(options["base_model"])
        names = ("train", "holdout", "holdout_share", "max_train", "max_holdout", "seed")
        train, holdout = split_rows(**{name: options[name] for name in names})
        if options["layout"] and not all(any(b'"page"' in line.data for line in part) for part in (train, holdout)):
            raise CommandError("--layout needs training and hold-out rows that have the boxes of their pages.")
        _make_writable(options)
        project, owner = self._project(options)
        # The hold-out first: of two rows with the same text, the training row is the duplicate.
        imports = {
            name: self._import(project, owner, rows, name, layout=options["layout"])
            for name, rows in (("holdout", holdout), ("train", train))
        }
        if not base_model.is_prepared:
            self._say(f"preparing {base_model} (one time)")
            base_model = prepare(base_model=base_model)
        dataset = freeze(
            project=project,
            user=owner,
            seed=options["seed"],
            validation_share=options["validation_share"],
            rules=Rules(silver=options["silver"]),
        )
        for line in _dataset_lines(dataset):
            self._say(line)
        number, held_out = upcoming_number(project), dataset.items.filter(split=Split.HOLDOUT).count()
        self._say(price_sentence(gates_of(current_policy(project=project)), number, held_out))
        pipeline = self._start(project, owner, dataset, base_model, options)
        try:
            self._watch(pipeline)
        except BaseException:
            cancel_pipeline(pipeline)
            raise
        if options["outputs"]:
            self._open_outputs(pipeline, owner)
        report = {"project": project.slug, "imports": imports, **pipeline_report(pipeline)}
        if options["report"]:
            options["report"].write_text(json.dumps(report, indent=2, default=float) + "\n")
            self._say(f"report: {options['report']}")
        if options["outputs"]:
            for path in write_outputs(pipeline, options["outputs"]):
                self._say(f"outputs: {path}")
        self._summary(report)

    def _project(self, options: dict[str, Any]) -> tuple[Project, Any]:
        owner, members = _accounts(options["owner"], options["member"])
        stem = slugify(options["project"] or f"loop-{options['template']}")
        slug, count = stem, 1
        while Project.objects.filter(slug=slug).exists():
            count += 1
            slug = f"{stem}-{count}"
        name = f"Pipeline on {options['template']} {count}"
        contract, gates = _read(options["contract"]), _read(options["gates"])
        with transaction.atomic():
            project = create_project(owner=owner, name=name, slug=slug, template=options["template"], members=members)
            if contract is not None:
                save_contract(
                    project=project,
                    user=owner,
                    instruction=str(contract.get("instruction", "")),
                    schema_text=dumps(contract.get("schema")),
                    constraints=contract.get("constraints", {}),
                )
                project.refresh_from_db()
            if gates is not None:
                set_policy(project=project, user=owner, gates=gates)
        return project, owner

    def _import(
        self, project: Project, owner: User, lines: list[SourceLine], name: str, *, layout: bool
    ) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(suffix=f"-{name}.jsonl") as file:
            file.write(b"".join(line.data + b"\n" for line in lines))
            file.flush()
            file.seek(0)
            upload: File[Any] = File(file, name=f"{name}.jsonl")
            run = start_import(
                project=project,
                user=owner,
                file=upload,
                options={LAYOUT.name: layout},
                as_holdout=name == "holdout",
            )
        self._wait(run, f"import of {name}")
        result = {"imported": run.imported, "duplicates": run.duplicates, "rejected": run.rejected}
        self._say(f"import of {name}: " + ", ".join(f"{count:,} {what}" for what, count in result.items()))
        # The import counts sampled lines; the output names lines of the source file.
        rejects = [{**reject, "row": lines[reject["row"] - 1].number} for reject in run.rejects]
        for reject in rejects:
            self._say(f"  row {reject['row']} rejected: {reject['reason']}")
        return {**result, "rejects": rejects}

    def _start(
        self, project: Project, owner: User, dataset: DatasetVersion, base_model: BaseModel, options: dict[str, Any]
    ) -> Any:
        lengths = measure_lengths(dataset=dataset, base_model=base_model, user=owner)
        self._wait(lengths, "token lengths")
        method = options["method"] or recommended_method(dataset=dataset, base_model=base_model)[0]
        hyperparameters = default_hyperparameters(dataset=dataset, base_model=base_model, method=method)
        changes = {key: options[key] for key in ("epochs", "learning_rate") if options[key] is not None}
        has_silver = bool((dataset.counts.get("silver") or {}).get("documents"))
        hyperparameters = replace(hyperparameters, seed=options["seed"], silver=has_silver, **changes)
        return start_pipeline(
            project=project,
            user=owner,
            dataset=dataset,
            base_model=base_model,
            hyperparameters=hyperparameters,
            name=f"{options['template']} loop",
            with_free=not options["no_free"],
        )

    def _wait(self, run: BackgroundRun, name: str) -> None:
        while run.is_live:
            self.workers.wait()
            run.refresh_from_db()
        if run.status != Status.DONE:
            raise CommandError(f"The {name} {run.get_status_display().lower()}: {run.error}")

    def _watch(self, pipeline: Any) -> None:
        """Prints progress until the pipeline has ended."""
        shown = ""
        while True:
            advance(pipeline.pk)
            pipeline.refresh_from_db()
            running = next((stage for stage in stages(pipeline) if stage.run.is_live), None)
            line = ""
            if running is not None:
                run = running.run
                total = f" {run.progress_done}/{run.progress_total}" if run.progress_total else ""
                line = f"{running.name}: {run.stage or run.get_status_display().lower()}{total}"
            if line and line != shown:
                self._say(line)
                shown = line
            if not pipeline.is_live:
                break
            self.workers.wait()
        if pipeline.status != Status.DONE:
            raise CommandError(pipeline.error)

    def _open_outputs(self, pipeline: Any, owner: User) -> None:
        """Opens the outputs on the hold-out, which are about to be written."""
        for run in filter(None, (pipeline.base, pipeline.tuned)):
            open_outputs(run=run, user=owner, reason="manage.py run_loop --outputs")
        self._say("the outputs on the hold-out are open: gates on later models need other hold-out documents")

    def _summary(self, report: dict[str, Any]) -> None:
        for name in EVALUATIONS:
            if name in report:
                row = report[name]
                fields, p50 = row["intervals"]["field_exact"], row["latency_ms"]["p50"]
                self._say(
                    f"{name:16} valid {percent(row['schema_valid_rate'])}  field exact {percent(row['field_exact'])} "
                    f"({percent(fields['low'])} to {percent(fields['high'])})  document exact "
                    f"{percent(row['document_exact'])}  p50 {milliseconds(p50)}"
                )
        self._say(report["gates"]["sentence"])

    def _say(self, text: str) -> None:
        self.stdout.write(f"{time.strftime('%H:%M:%S')} {text}")
        sys.stdout.flush()


def _base_model(name: str) -> BaseModel:
    """The base model with a slug, or that of a folder, which is registered. Raises Refused."""
    folder = Path(name)
    if "/" not in name or not folder.is_dir():
        return find_base_model(name)
    slug = slugify(folder.name.replace(".", "-"))
    if BaseModel.objects.filter(slug=slug).exclude(source=BaseModel.Source.FOLDER).exists():  # one of the catalog
        slug = f"{slug}-folder"
    return register_folder(slug=slug, name=folder.name, folder=folder)


def _accounts(owner: str, members: list[str]) -> tuple[Any, dict[Any, str]]:
    """The owner (the default owner is created) and the members with their roles."""
    users = get_user_model().objects
    if owner == OWNER and not users.filter(username=OWNER).exists():
        users.create_user(username=OWNER)  # no password: no login
    names = {name: role for name, _, role in (member.partition(":") for member in members)}
    if wrong := [role for role in names.values() if role not in Role.values]:
        raise CommandError(f"Unknown role {wrong[0]!r}. Roles: {', '.join(Role.values)}.")
    by_name = {user.get_username(): user for user in users.filter(username__in=[owner, *names])}
    if missing := [name for name in [owner, *names] if name not in by_name]:
        raise CommandError(f"Unknown user {missing[0]!r}.")
    return by_name[owner], {by_name[name]: role for name, role in names.items()}


def _dataset_lines(dataset: DatasetVersion) -> list[str]:
    """What is in a version, what was left out of it, and which share of the gold values is in the text."""
    splits = ", ".join(f"{dataset.counts['splits'].get(value, 0):,} {label}" for value, label in Split.choices)
    lines = [f"frozen {dataset}: {dataset.counts['documents']:,} documents: {splits}"]
    lines += [
        f"  left out: {count:,} ({EXCLUSION_REASONS[reason]})"
        for reason, count in dataset.counts["left_out"].items()
        if count
    ]
    if silver := dataset.counts.get("silver"):
        lines.append(f"  and {silver['documents']:,} silver labels; left out: {sum(silver['left_out'].values()):,}")
    shares = [f"{field.pattern} {percent(field.share)}" for field in ceiling_of(dataset) if field.share is not None]
    return [*lines, f"  gold values that are in the text: {', '.join(shares)}"] if shares else lines


def _read(path: Path | None) -> Any:
    """The object in a JSON file; None without a path."""
    if path is None:
        return None
    try:
        values = loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {path}: {error}.") from error
    except JsonError as error:
        raise CommandError(f"{path} is not valid JSON: {error.message} (line {error.line}).") from error
    if not isinstance(values, dict):
        raise CommandError(f"{path} must contain a JSON object.")
    return values


def _make_writable(options: dict[str, Any]) -> None:
    """Creates the result folders, so that an unwritable path fails at once."""
    report, outputs = options["report"], options["outputs"]
    try:
        if outputs:
            outputs.mkdir(parents=True, exist_ok=True)
        if report:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.touch()
    except OSError as error:
        raise CommandError(f"Cannot write {error.filename}: {error.strerror}.") from error
