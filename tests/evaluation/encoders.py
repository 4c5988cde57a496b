"""An encoder as the model of a world, and its child process in the process of a test."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.inference.spec import EvalSpec
from slmstudio.runs.supervisor import ChildExit
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.evaluation.factories import World, rewrite
from tests.training.ml_data import EventCollector, tiny_encoder
from tests.training.model_folders import made_once
from training.models import BaseModel
from training.spec import RunSpec
from training.strict_yaml import build


def make_encoder(world: World) -> None:
    """The base model is an encoder; the model version has no weights of use."""
    rewrite(world.base_model, family=BaseModel.Family.ENCODER)
    for row in (world.base_model, world.training_run, world.version):
        row.refresh_from_db()


def train_encoder(world: World, base: Path | None = None, epochs: float = 1.0) -> None:
    """The model version is trained from an encoder, by default the tiny one."""
    make_encoder(world)
    base = base or tiny_encoder()
    schema = world.dataset.schema_version
    run_spec = RunSpec.from_yaml(world.training_run.spec)

    def make(folder: Path) -> None:
        from training.ml.train import main

        values = {
            "base_model": {"slug": base.name, "path": str(base)},
            "dataset": {"path": run_spec.dataset.path},
            "contract": {"instruction": "Extract.", "schema": schema.compiled.schema},
            "output_dir": f"{folder}.run",
            "method": "full",
            "epochs": epochs,
            "precision": "fp32",  # else it is timed, and differs on a busy machine
            "sample_documents": 0,
        }
        main(build(RunSpec, values), EventCollector().emitter)
        shutil.move(f"{folder}.run/merged", folder)

    folder = artifacts.local_path(world.version.folder_key)
    shutil.rmtree(folder)
    shutil.copytree(made_once(f"trained-{base.name}-{schema.sha256[:12]}", make), folder)
    rewrite(world.version, sha256=folder_hash(folder), tokenizer_sha256=sha256_file(folder / "tokenizer.json"))
    rewrite(world.base_model, folder=str(base), sha256=folder_hash(base))
    for row in (world.base_model, world.version):
        row.refresh_from_db()


def answer_here(job: Any, argv: list[str], *, on_event: Callable[[dict[str, Any]], None], **more: Any) -> ChildExit:
    """Stands for ``supervise``: the child process of an encoder without a process. In fp32: whether bf16 is faster is
    timed, and differs on a busy machine."""
    from evaluation.ml import answer_encoder

    assert argv[2] == "evaluation.ml.answer_encoder"
    collector = EventCollector()
    answer_encoder.main(replace(EvalSpec.from_yaml(Path(argv[3]).read_text()), precision="fp32"), collector.emitter)
    for event in collector.events:
        on_event(event)
    return ChildExit(ok=True)
