"""``manage.py train``: the same service as the page, exit codes, and errors by field."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from slmstudio.runs.models import Status
from training.management.commands import train
from training.models import LengthReport, TrainingRun
from training.runs.run_spec import hyperparameters_of
from training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("queues")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("train", *arguments, stdout=out)
    return out.getvalue()


def refused(*arguments: str) -> tuple[str, int]:
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    return str(caught.value), caught.value.returncode


def test_preset_run_is_queued_for_the_owner(lengths: LengthReport, people: dict[str, Any]) -> None:
    output = run("receipts", "--name", "by hand")
    made: Any = TrainingRun.objects.get()
    assert "run 1 is queued: /p/receipts/training/1/" in output
    assert "No worker for the queue gpu" in output
    assert (made.status, made.name, made.created_by) == (Status.QUEUED, "by hand", people["owner"])
    assert hyperparameters_of(RunSpec.from_yaml(made.spec)).epochs == 6.0


def test_hyperparameters_can_be_set(lengths: LengthReport) -> None:
    options = ["--dataset=1", "--base-model=tiny-random", "--set=epochs=2", "--set=effective_batch=6"]
    options += ["--set=trackers=tensorboard", "--set=early-stopping=3", "--set=activation_checkpointing=on"]
    run("receipts", *options)
    trained = hyperparameters_of(RunSpec.from_yaml(TrainingRun.objects.get().spec))
    assert (trained.epochs, trained.effective_batch, trained.trackers) == (2.0, 6, ("tensorboard",))
    assert (trained.early_stopping, trained.activation_checkpointing) == (3, True)


def test_spec_file_of_a_run_starts_another(lengths: LengthReport, tmp_path: Path) -> None:
    run("receipts", "--set", "seed=4")
    path = tmp_path / "spec.yaml"
    path.write_text(TrainingRun.objects.get().spec)
    run("receipts", str(path), "--set", "epochs=1")
    runs: Any = TrainingRun.objects.order_by("number")
    first, second = (hyperparameters_of(RunSpec.from_yaml(row.spec)) for row in runs)
    assert (second.seed, second.epochs) == (4, 1.0)
    assert first.max_length == second.max_length


def test_invalid_value_is_rejected_by_field(lengths: LengthReport) -> None:
    for arguments, words in (
        (["nowhere"], "project: Project 'nowhere' not found."),
        (["receipts", "--dataset", "9"], "dataset: Dataset version v9 not found"),
        (["receipts", "--base-model", "gpt-17"], "base_model: Base model 'gpt-17' not found"),
        (["receipts", "--user", "manager"], "user: User 'manager' cannot train"),
        (["receipts", "--set", "epochs=many"], "epochs: 'many' is not a number"),
        (["receipts", "--set", "activation_checkpointing=perhaps"], "is not true or false"),
        (["receipts", "--set", "colour=red"], "colour: Unknown hyperparameter"),
        (["receipts", "--set", "learning_rate=7"], "learning_rate: Learning rate: "),
        (
            ["receipts", "--set", "max_length=128", "--set", "too_long=refuse"],
            "max_length: 1 document is longer than 128 tokens",
        ),
        (["receipts", "/no/such/file.yaml"], "spec: /no/such/file.yaml cannot be read"),
    ):
        output, code = refused(*arguments)
        assert words in output
        assert code == train.REJECTED
    assert not TrainingRun.objects.exists()


def test_every_error_has_its_line(lengths: LengthReport, tmp_path: Path) -> None:
    output, _ = refused("receipts", "--set", "epochs=x", "--set", "seed=y")
    assert [line.partition(":")[0] for line in output.splitlines()] == ["epochs", "seed"]
    path = tmp_path / "spec.yaml"
    path.write_text("version: 1\n")
    assert refused("receipts", str(path)) == ("base_model: is missing", train.REJECTED)
    assert "The file contains it" in refused("receipts", str(path), "--dataset", "1")[0]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(Status.FAILED, train.FAILED, "failed. The disk is full."), (Status.CANCELLED, train.CANCELLED, "was cancelled")],
)
def test_waiting_ends_with_the_run(
    lengths: LengthReport, monkeypatch: pytest.MonkeyPatch, status: str, code: int, words: str
) -> None:
    """The worker is played by what the command would start one with."""
    from contextlib import contextmanager

    from slmstudio.workers.live_workers import StartedWorkers

    @contextmanager
    def played(queues: list[str], *, say: Any) -> Any:
        TrainingRun.objects.update(status=status, error="The disk is full.")
        yield StartedWorkers()

    monkeypatch.setattr(train, "ensure_workers", played)
    output, returned = refused("receipts", "--wait")
    assert words in output
    assert returned == code
