"""A run from a spec file: the form is filled in, nothing starts, errors are named by field."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.shared_rows import shared_fixture
from tests.training.fakes import start_run
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport, TrainingRun
from training.runs.run_spec import hyperparameters_of
from training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/new/spec/"
FORM = "/p/receipts/training/new/"
Login = Callable[[str], Client]
HYPERPARAMETERS = replace(
    Hyperparameters(), learning_rate=2.125e-05, epochs=2.5, batch_size=2, accumulation=3, early_stopping=4,
    trackers=("tensorboard",), activation_checkpointing=True, seed=4, lora_r=8,
    best_metric="field_accuracy", eval_every=7, save_every=3, sample_documents=50, sample_seconds=60,
    weight_averaging="ema", ema_decay=0.95, keep_best_and_last=False,
    augmentation="exchange",
)  # fmt: skip
#: a few hundred bytes that are a hundred million words once they are written out
BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 8)
) + b"seed: *a7\n"  # fmt: skip


@pytest.fixture
def engineer(login: Login) -> Client:
    return login("engineer")


@shared_fixture
def spec(lengths: LengthReport, queues: None) -> RunSpec:
    """The spec of a run with other hyperparameters than the preset's, from somewhere else."""
    run = start_run(lengths, **asdict(HYPERPARAMETERS))
    text = run.spec
    run.delete()
    return RunSpec.from_yaml(text.replace("/data.jsonl", "/elsewhere.jsonl"))


def send(client: Client, text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return client.post(URL, {"spec": SimpleUploadedFile("spec.yaml", data)})


def problems(client: Client, text: str | bytes) -> str:
    """The errors at a rejected file; the usual form is there all the same, and nothing starts."""
    answer = send(client, text)
    assert answer.status_code == 422
    html = answer.content.decode()
    assert '<form id="new-run"' in html
    assert not TrainingRun.objects.exists()
    section = html[html.index('id="spec-problems"') :]
    return section[: section.index("</div>")]


def test_form_is_filled_in_and_nothing_starts(engineer: Client, spec: RunSpec) -> None:
    answer = send(engineer, spec.to_yaml())
    assert answer.status_code == 302
    assert not TrainingRun.objects.exists()
    assert "Form filled in from the file." in engineer.get(answer["Location"]).content.decode()
    form = engineer.get(answer["Location"]).context["form"]  # the address can be loaded again
    values = {bound.name: bound.value() for bound in form if bound.value() not in (None, False)}
    assert engineer.post(FORM, values).status_code == 302
    assert hyperparameters_of(RunSpec.from_yaml(TrainingRun.objects.get().spec)) == HYPERPARAMETERS


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {
                "dataset": {"path": "x", "sha256": "0" * 64}, "base_model": {"path": "x", "sha256": "1" * 64},
                "max_steps": 5, "lora": {"targets": ["q_proj"]},
            },
            [
                "dataset.sha256: no dataset version of this project has the",
                "base_model.sha256: no prepared base model has the hash",
                "max_steps: not supported; use epochs instead",
                "lora.targets: SLM Studio trains all linear layers",
            ],
        ),
        (
            {"dataset": {"path": "x"}, "base_model": {"path": "x"}},
            ["dataset.sha256: is missing", "base_model.sha256: is missing"],
        ),
        ({"dataset": {"path": "x", "sha256": "F" * 64}}, ["dataset.sha256: is not a SHA-256"]),
        ({"prompt": "plain"}, ["prompt: "]),
        ({"base_model": {"path": "x", "sha256": "\0"}}, ["base_model.sha256: has invalid characters"]),
        ({"learning_rate": "fast"}, ["learning_rate: must be a number"]),
    ],
)  # fmt: skip
def test_errors_are_named_by_field(
    engineer: Client, spec: RunSpec, changes: dict[str, Any], expected: list[str]
) -> None:
    values = {**yaml.safe_load(spec.to_yaml()), **changes}
    listed = problems(engineer, yaml.safe_dump(values, sort_keys=False))
    for words in expected:
        assert words in listed


def test_different_contract_is_rejected(engineer: Client, spec: RunSpec) -> None:
    other = replace(spec, contract=replace(spec.contract, instruction="Do something else."))
    assert "was frozen with another instruction" in problems(engineer, other.to_yaml())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "must be a mapping"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"[" * 5000, "spec: "),
        (b"\0", "not text"),
        (b"a" * 210_000, "more than 200,000"),
        (BOMB, "aliases (*name) are not supported"),
        (b'"\\ud800": 1', "not YAML"),
    ],
)
def test_invalid_spec_is_rejected_with_a_message(engineer: Client, spec: RunSpec, data: bytes, words: str) -> None:
    assert words in problems(engineer, data)


def test_missing_file_is_reported(engineer: Client, spec: RunSpec) -> None:
    assert "Choose a YAML file first." in engineer.post(URL).content.decode()
