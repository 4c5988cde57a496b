"""``manage.py reproduce``: a tiny model is trained and evaluated twice; and what it says where something differs."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from evaluation.classical import services as classical
from evaluation.gates.services import create_report
from evaluation.inference.backend import ModelUnavailable
from evaluation.models import ClassicalModel, EvalOutput, EvalRun, GateReport
from evaluation.reproduction import services
from evaluation.reproduction.services import changed_facts
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.models import Split
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash
from tests.evaluation.encoders import make_encoder
from tests.evaluation.factories import World, evaluated, pretend, rewrite
from tests.training.ml_data import tiny_encoder
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel, TrainingRun
from training.runs.jobs import run_training
from training.runs.run_spec import build_spec

pytestmark = pytest.mark.usefixtures("forked_children")
Reproduce = Callable[..., tuple[int, str]]


SETTINGS = Hyperparameters(max_length=1024, epochs=1, batch_size=4, precision="fp32")


@pytest.fixture
def reproduce(capsys: pytest.CaptureFixture[str]) -> Reproduce:
    """Exit code and output of the command."""

    def run(report: GateReport, *options: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            call_command("reproduce", str(report.number), "--project", report.project.slug, *options)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run


def trained_and_evaluated(world: World, tiny: BaseModel, settings: Hyperparameters = SETTINGS) -> EvalRun:
    """A tiny model that was really trained, and its evaluation on the hold-out."""
    training = TrainingRun.objects.create(
        project=world.project, number=2, dataset=world.dataset, base_model=tiny, created_by=world.engineer
    )
    rewrite(training, spec=build_spec(training, settings).to_yaml())
    run_training(training.pk)
    training.refresh_from_db()
    assert training.status == Status.DONE, training.error
    return evaluated_on_holdout(world, training)


def evaluated_on_holdout(world: World, model: TrainingRun | ClassicalModel) -> EvalRun:
    run: EvalRun = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=model, split=Split.HOLDOUT,
        confirm_holdout=True,
    )  # fmt: skip
    run_evaluation(run.pk)
    run.refresh_from_db()
    assert run.status == Status.DONE, run.error
    return run


@pytest.mark.slow
def test_a_model_is_made_again_and_gives_the_same_outputs(
    small_world: World, tiny_base_model: BaseModel, reproduce: Reproduce, tmp_path: Path
) -> None:
    run = trained_and_evaluated(small_world, tiny_base_model)
    assert run.facts["environment"]["packages"]["torch"]
    assert run.training_run is not None
    assert run.training_run.facts["optimizer"]["optim"]
    assert run.training_run.facts["prompt_sha256"] == run.facts["prompt_sha256"]
    report = create_report(eval_run=run, baseline=None, user=small_world.engineer)
    # One output and the environment are recorded otherwise than they were.
    row = EvalOutput.objects.filter(eval_run=run).order_by("document_id").select_related("document")[3]
    rewrite(row, raw="{}")
    environment = {**run.facts["environment"], "python": "2.7"}
    rewrite(run, facts={**run.facts, "environment": environment})
    code, text = reproduce(report, "--folder", str(tmp_path / "again"))
    assert code == 1, text
    assert "Model: equal, file by file" in text
    assert (tmp_path / "again" / "training" / "merged" / "model.safetensors").is_file()
    assert "Outputs: 3 of 4 equal" in text
    assert row.document.external_id in text
    assert "python: 2.7 before" in text


@pytest.mark.slow
def test_an_encoder_answers_again(small_world: World, reproduce: Reproduce) -> None:
    make_encoder(small_world)
    folder = tiny_encoder()
    rewrite(small_world.base_model, folder=str(folder), sha256=folder_hash(folder))
    small_world.base_model.refresh_from_db()
    run = trained_and_evaluated(small_world, small_world.base_model, replace(SETTINGS, method="full", max_length=256))
    report = create_report(eval_run=run, baseline=None, user=small_world.engineer)
    assert "prompt_sha256" not in report.provenance["evaluation"]
    code, text = reproduce(report, "--outputs")
    assert code == 0, text
    assert "Outputs: 4 of 4 equal" in text


@pytest.mark.slow
def test_a_classical_model_is_made_again(world: World, reproduce: Reproduce, tmp_path: Path) -> None:
    kind = classical.kinds(world.dataset.schema_version)[0]
    model = classical.get_or_create(project=world.project, user=world.engineer, dataset=world.dataset, kind=kind)
    run = evaluated_on_holdout(world, model)
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    code, text = reproduce(report, "--folder", str(tmp_path / "again"))
    assert code == 0, text
    assert f"Outputs: {len(run.dataset.items.filter(split='holdout'))} of" in text
    assert (tmp_path / "again" / "classical" / "model.json").is_file()
    model.refresh_from_db()
    (artifacts.local_path(model.folder_key) / "model.json").write_bytes(b"{}")
    assert reproduce(report, "--outputs")[0] == 2
    code, text = reproduce(report)
    assert (code, "model.json" in text) == (1, True)


def test_what_is_missing_cannot_be_reproduced(
    world: World, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = evaluated(world, pretend(2, spoil=0.1))
    rewrite(run, facts={**run.facts, "environment": {"precision": "bf16"}})
    report = create_report(eval_run=EvalRun.objects.get(pk=run.pk), baseline=None, user=world.engineer)
    precisions = []

    def unavailable(backend: Any, spec: Any, *rest: Any) -> Any:
        precisions.append(spec.precision)
        raise ModelUnavailable("There is no device.")

    with monkeypatch.context() as patch:
        patch.setattr(services, "_generate", unavailable)
        assert reproduce(report, "--outputs")[0] == 2
    assert precisions == ["bf16"], "the recorded precision is used, not a timed one"
    (artifacts.local_path(world.version.folder_key) / "model.safetensors").write_bytes(b"others")
    code, text = reproduce(report, "--outputs")
    assert (code, "have changed" in text) == (2, True)
    Path(world.base_model.folder, "model.safetensors").write_bytes(b"others")
    assert reproduce(report)[0] == 2
    report.number = 77
    assert reproduce(report)[0] == 2


def test_scores_and_verdicts_follow_the_outputs(
    world: World, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs that are all wrong where they were right."""
    report = create_report(eval_run=evaluated(world, pretend(2, spoil=0)), baseline=None, user=world.engineer)

    def answer(run: EvalRun, *rest: Any) -> list[EvalOutput]:
        rows = list(EvalOutput.objects.filter(eval_run=run).order_by("document_id"))
        worse = EvalOutput.objects.filter(eval_run=evaluated(world, lambda row: {"raw": "no"}))
        scores = dict(worse.values_list("document_id", "score"))
        for row in rows:
            row.raw, row.score = "no", scores[row.document_id]
        return rows

    monkeypatch.setattr(services, "_answer", answer)
    code, text = reproduce(report, "--outputs")
    assert code == 1
    assert "Outputs: 0 of 12 equal" in text
    assert "Exact match: 12 of 12 before, 0 of 12 now" in text
    assert "FAIL now" in text


def test_changed_facts_are_listed_one_by_one() -> None:
    before = {"device": "cpu", "memory_bytes": 1, "packages": {"torch": "2.8", "trl": "1"}}
    now = {"device": "cuda", "memory_bytes": 2, "packages": {"torch": "2.9", "trl": "1"}, "gpu": "H100"}
    changes = [(change.name, change.before, change.now) for change in changed_facts(before, now)]
    assert changes == [("device", "cpu", "cuda"), ("gpu", "", "H100"), ("torch", "2.8", "2.9")]
