"""``manage.py search``: starts a hyperparameter search from the command line, through the same service as the page."""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.text.formatting import percent
from slmstudio.workers.live_workers import WorkerGone, ensure_workers
from slmstudio.workers.warnings import no_worker_message
from training.base_models.services import find_base_model
from training.management.commands.train import FAILED, REJECTED, project_user, wait_for_lengths
from training.models import BaseModel, Search
from training.runs.queries import newest_dataset
from training.search import services
from training.search.spec import SearchSpec


class Command(BaseCommand):
    """Starts a search from a SearchSpec, or with the default space for a dataset and a base model.

    Exit codes: 0 started (with --wait: a trial was completed), 1 the search failed, 2 rejected.
    """

    help = "Starts a hyperparameter search."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="slug of the project")
        parser.add_argument("spec", nargs="?", type=Path, help="a SearchSpec in YAML")
        parser.add_argument("--dataset", type=int, help="number of a dataset version (default: the newest)")
        parser.add_argument("--base-model", help="slug of a base model (default: the largest that is prepared)")
        parser.add_argument("--hours", type=float, help="training time of all trials together")
        parser.add_argument("--trials", type=int, help="maximum number of trials")
        parser.add_argument("--parallel", type=int, help="concurrent trials")
        parser.add_argument("--name", default="")
        parser.add_argument("--user", help="user who starts the search (default: the project's owner)")
        parser.add_argument(
            "--wait", action="store_true", help="wait until it has ended; starts workers if there are none"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._run(options)
        except Refused as refusal:
            lines = [f"{field}: {message}" for field, message in refusal.errors.items()]
            raise CommandError("\n".join(lines), returncode=REJECTED) from refusal
        except WorkerGone as gone:
            raise CommandError(str(gone), returncode=FAILED) from gone

    def _run(self, options: dict[str, Any]) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise Refused(f"Project {options['project']!r} not found.", field="project")
        user = project_user(project, options["user"])
        spec = _spec(project, options)
        dataset, base_model = services.inputs_of(project, spec)
        wait_for_lengths(dataset, base_model, user, say=self._print)
        if options["spec"] is None:
            spec = replace(spec, space=services.default_space(dataset, base_model))
        search = services.start_search(project=project, user=user, spec=spec, name=options["name"])
        self._print(f"search {search.number} has started: {search.get_absolute_url()}")
        if options["wait"]:
            self._follow(search)
        elif message := no_worker_message("gpu", for_administrator=True):
            self._print(message)

    def _follow(self, search: Search) -> None:
        printed = ""
        with ensure_workers(["gpu"], say=self._print) as workers:
            while search.is_live:
                search.refresh_from_db()
                line = f"  {search.progress_done} of {search.progress_total} trials, {search.stage}"
                if line != printed:
                    self._print(line)
                    printed = line
                workers.wait()
        best = services.best_trial(list(search.trials.select_related("run")))
        if best is None or search.status == Status.FAILED:
            raise CommandError(f"Search {search.number} failed. {search.error or search.outcome}", returncode=FAILED)
        assert best.run is not None
        values = ", ".join(f"{name} {value}" for name, value in best.parameters.items())
        self._print(f"{search.outcome} Best: run {best.run.number}, field accuracy {percent(best.value)}: {values}")

    def _print(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _spec(project: Project, options: dict[str, Any]) -> SearchSpec:
    """The spec from the file or the options."""
    numbers = {name: options[name] for name in ("hours", "trials", "parallel") if options[name] is not None}
    if options["spec"] is not None:
        try:
            spec = services.read_spec(options["spec"].read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"{options['spec']} cannot be read: {error}", field="spec") from error
        return services.read_spec(replace(spec, **numbers).to_yaml()) if numbers else spec
    if options["hours"] is None:
        raise Refused("Set the budget with --hours.", field="hours")
    dataset = newest_dataset(project)
    if options["base_model"] is not None:
        base_model: BaseModel | None = find_base_model(options["base_model"])
    else:
        base_model = BaseModel.objects.exclude(sha256="").order_by("-parameters").first()
    if base_model is None:
        raise Refused("No base model is prepared. Set one with --base-model.", field="base_model")
    number = options["dataset"] if options["dataset"] is not None else dataset.number if dataset is not None else 1
    return services.read_spec(SearchSpec(dataset=number, base_model=base_model.slug, **numbers).to_yaml())
