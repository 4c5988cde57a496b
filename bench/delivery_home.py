"""The data folder that ``bench.delivery_walk`` starts from: ``python -m bench.delivery_home FOLDER``.

Three people, a project of messages to a shop, a frozen dataset, and three fine-tuned SmolLM2-135M with evaluations: the
first has a GGUF file and a gate report that is not decided, the second was trained for longer, the weights of the third
are broken. It takes some ten minutes on two cores.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.bad_candidate import add_noise
from bench.delivery_messages import CONTRACT, GATES, usual
from slmstudio.stack import environment
from slmstudio.stack.environment import ROOT

if TYPE_CHECKING:
    from evaluation.models import EvalRun
    from labeling.models import DatasetVersion, Project
    from slmstudio.runs.models import BackgroundRun
    from training.models import TrainingRun

SLUG = "messages"
PASSWORD = "walk-14"
PEOPLE = {"ana": "annotator", "erik": "engineer", "mona": "manager"}
TRAIN, HOLDOUT, VALIDATION, SEED = 160, 60, 0.12, 14
#: standard deviation of the noise on the broken weights, in those of each tensor
NOISE = 3.0


def main() -> None:
    """Makes the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True)  # an existing one is not changed
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    os.environ |= {"SLM_HOME": str(folder), "DJANGO_SETTINGS_MODULE": "slmstudio.settings"}
    environment.exit_on_termination()
    with environment.servers():
        _manage("migrate", "--verbosity=0")
        os.environ.pop("DATABASE_OWNER_URL", None)
        import django

        django.setup()
        with _worker():
            _make()


def _make() -> None:
    from django.contrib.auth import get_user_model
    from django.db import connections

    from labeling.projects.services import create_project

    users = get_user_model().objects
    owner = users.create_user("olga")
    members = {users.create_user(name, password=PASSWORD): role for name, role in PEOPLE.items()}
    project = create_project(owner=owner, name="Messages", slug=SLUG, template="ticket-routing", members=members)
    project.review_required = False
    project.save(update_fields=["review_required"])
    dataset = _start(project)
    first = _train(dataset, "first model", 1.5)
    _wait(_export(first))
    _report(_evaluate(dataset, first, "holdout"))
    second = _train(dataset, "second model", 2.0)
    _evaluate(dataset, second, "holdout")
    broken = _train(dataset, "broken weights", 0.05)
    _break(broken)
    _evaluate(dataset, broken, "validation")
    connections.close_all()


def _start(project: "Project") -> "DatasetVersion":
    """Contract, policy, labeled messages, a dataset version and its token lengths."""
    from evaluation.gates.policy.services import set_policy
    from labeling.datasets.freeze import freeze
    from labeling.imports.services import ParsedRow, import_rows
    from labeling.projects.services import save_contract
    from slmstudio.contract.json_text import dumps
    from training.base_models.preparation import prepare
    from training.base_models.services import find_base_model, sync_catalog
    from training.runs.services import measure_lengths

    olga, erik = _person("olga"), _person("erik")
    save_contract(
        project=project, user=olga, instruction=CONTRACT["instruction"], schema_text=dumps(CONTRACT["schema"]),
        constraints=CONTRACT["constraints"],
    )  # fmt: skip
    project.refresh_from_db()
    set_policy(project=project, user=_person("mona"), gates=GATES)
    for is_holdout, rows in ((True, usual(HOLDOUT, SEED + 1)), (False, usual(TRAIN, SEED))):
        parsed = [ParsedRow(number, row) for number, row in enumerate(rows, start=1)]
        import_rows(project=project, rows=parsed, source="generator", synthetic=True, as_holdout=is_holdout)
    dataset = freeze(project=project, user=erik, seed=SEED, validation_share=VALIDATION)
    sync_catalog()
    base_model = prepare(base_model=find_base_model("smollm2-135m-instruct"))
    _wait(measure_lengths(dataset=dataset, base_model=base_model, user=erik))
    return dataset


def _export(run: "TrainingRun") -> "BackgroundRun":
    from training.exports.services import request_export

    export: BackgroundRun = request_export(run=run, key="q8_0", user=_person("erik"))
    return export


def _train(dataset: "DatasetVersion", name: str, epochs: float) -> "TrainingRun":
    from training.base_models.services import find_base_model
    from training.hyperparameters.defaults import default_hyperparameters
    from training.runs.services import start_training

    base_model = find_base_model("smollm2-135m-instruct")
    hyperparameters = default_hyperparameters(dataset=dataset, base_model=base_model)
    run = start_training(
        project=dataset.project, user=_person("erik"), dataset=dataset, base_model=base_model,
        hyperparameters=replace(hyperparameters, epochs=epochs), name=name,
    )  # fmt: skip
    _wait(run)
    return run


def _evaluate(dataset: "DatasetVersion", run: "TrainingRun", split: str) -> "EvalRun":
    from evaluation.runs.services import start_evaluation

    found = start_evaluation(
        project=dataset.project, user=_person("erik"), dataset=dataset, model=run, split=split, confirm_holdout=True
    )
    _wait(found)
    exact = found.scores["document_exact"]
    print(f"  exact match {exact['rate']:.3f} of {exact['n']}", flush=True)
    return found


def _report(run: "EvalRun") -> None:
    from evaluation.gates.services import create_report

    print(create_report(eval_run=run, baseline=None, user=_person("erik")).sentence, flush=True)


def _break(run: "TrainingRun") -> None:
    """Noise on the weights of a model, as a fault of a training would leave."""
    from slmstudio.storage.artifacts import local_path
    from slmstudio.storage.hashing import folder_manifest, manifest_hash
    from training.models import ModelVersion

    version = ModelVersion.objects.get(training_run=run)
    folder = local_path(version.folder_key)
    add_noise(folder, NOISE)
    manifest = folder_manifest(folder)
    version.files, version.sha256 = [dict(one) for one in manifest], manifest_hash(manifest)
    version.save(update_fields=["files", "sha256"])


# -- helpers ----------------------------------------------------------------------------------------------------------


def _person(name: str) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get(username=name)


def _manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True)


@contextlib.contextmanager
def _worker() -> Iterator[None]:
    command = [sys.executable, "manage.py", "rqworker", "default", "imports", "gpu"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()


def _wait(run: "BackgroundRun") -> None:
    """Waits for a background run to end well."""
    from slmstudio.runs.models import Status

    while run.is_live:
        time.sleep(1)
        run.refresh_from_db()
    if run.status != Status.DONE:
        raise SystemExit(f"{run} {run.status}: {run.error}")
    print(f"{time.strftime('%H:%M:%S')} {run} is done", flush=True)


if __name__ == "__main__":
    main()
