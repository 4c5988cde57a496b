"""A run on several cards is launched by accelerate, one process for each; a worker with too few steps back."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import django_rq
import pytest

from labeling.models import DatasetVersion, Project
from slmstudio import devices
from slmstudio.hardware import Gpu, this_machine
from slmstudio.runs import Status
from tests.training.fakes import attempts
from training import jobs
from training.models import LengthReport, TrainingRun
from training.presets import Knobs
from training.services.runs import start_training
from training.spec import RunSpec

pytestmark = pytest.mark.django_db(transaction=True)
CARDS = (Gpu(0, "GPU-a", "L4", 24 << 30, 0), Gpu(1, "GPU-b", "L4", 24 << 30, 0))


@pytest.fixture
def run(
    project: Project, dataset: DatasetVersion, lengths: LengthReport, people: dict[str, Any], queues: None
) -> TrainingRun:
    return start_training(
        project=project, user=people["engineer"], dataset=dataset, base_model=lengths.base_model, knobs=Knobs()
    )


def on_cards(run: TrainingRun, count: int) -> None:
    run.spec = replace(RunSpec.from_yaml(run.spec), devices=count).to_yaml()
    run.save(update_fields=["spec"])


def test_the_child_of_a_run_sees_the_card_it_was_given(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(jobs, "TRAINER", "tests.training.fake_trainer")
    monkeypatch.setattr(devices, "this_machine", lambda: replace(this_machine(), gpus=CARDS))
    with devices.held(wait=lambda: False) as other:
        jobs.run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.DONE
    assert [attempt["CUDA_VISIBLE_DEVICES"] for attempt in attempts(run)] == ["GPU-b"]
    assert other.env["CUDA_VISIBLE_DEVICES"] == "GPU-a"


def test_the_command_line_for_several_cards_names_the_launcher_and_the_number(run: TrainingRun) -> None:
    spec = replace(RunSpec.from_yaml(run.spec), devices=2)
    words = jobs._command(spec, Path("spec.yaml"), run)
    at = words.index("accelerate.commands.accelerate_cli")
    assert words[at + 1] == "launch"
    assert "--multi_gpu" in words
    assert words[words.index("--num_processes") + 1] == "2"
    assert words[-3:] == ["-m", "training.ml.train", "spec.yaml"]
    assert words[:2] == [sys.executable, str(jobs.TIED)]


def test_a_worker_with_too_few_cards_leaves_the_run_to_another(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cards(run, 4)
    queue = django_rq.get_queue("gpu")
    queue.empty()
    behind = queue.enqueue("training.jobs.run_training", 0)
    monkeypatch.setattr(jobs, "STEP_BACK_SECONDS", 0.0)
    jobs.run_training(run.pk)
    run.refresh_from_db()
    assert (run.status, run.stage, run.tries) == (Status.QUEUED, "waiting for a worker with 4 cards", 0)
    assert list(queue.job_ids) == [behind.id, str(run.job_id)]
