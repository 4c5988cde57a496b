"""A run from a spec file: the form is filled in, nothing starts, errors are named by field."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from labeling.models import DatasetVersion, Project
from tests.shared_rows import shared_fixture
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport, TrainingRun
from training.runs.run_spec import hyperparameters_of
from training.runs.services import start_training
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
def spec(project: Project, dataset: DatasetVersion, lengths: LengthReport, people: dict[str, Any]) -> RunSpec:
    """The spec of a run with other hyperparameters than the preset's, from somewhere else."""
    run = start_training(
        project=project,
        user=people["engineer"],
        dataset=dataset,
        base_model=lengths.base_model,
        hyperparameters=HYPERPARAMETERS,
    )
    text = run.spec
    run.delete()
    return RunSpec.from_yaml(text.replace("/data.jsonl", "/elsewhere.jsonl"))


def send(client: Client, text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return client.post(URL, {"spec": SimpleUploadedFile("spec.yaml", data)})


def test_form_is_filled_in_and_nothing_starts(engineer: Client, spec: RunSpec) -> None:
    answer = send(engineer, spec.to_yaml())
    assert answer.status_code == 302
    assert not TrainingRun.objects.exists()
    page = engineer.get(answer["Location"])
    assert "Form filled in from the file." in page.content.decode()
    form = page.context["form"]
    values = {bound.name: bound.value() for bound in form if bound.value() not in (None, False)}
    assert engineer.post(FORM, values).status_code == 302
    assert hyperparameters_of(RunSpec.from_yaml(TrainingRun.objects.get().spec)) == HYPERPARAMETERS


def test_resulting_url_can_be_reloaded(engineer: Client, spec: RunSpec) -> None:
    address = send(engineer, spec.to_yaml())["Location"]
    first, again = engineer.get(address), engineer.get(address)
    assert first.context["form"]["seed"].value() == again.context["form"]["seed"].value() == "4"
    assert again.context["form"]["trackers"].value() == ["tensorboard"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dataset": {"path": "x", "sha256": "0" * 64}}, "dataset.sha256: no dataset version of this project has the"),
        ({"dataset": {"path": "x"}}, "dataset.sha256: is missing"),
        ({"base_model": {"path": "x", "sha256": "1" * 64}}, "base_model.sha256: no prepared base model has the hash"),
        ({"base_model": {"path": "x"}}, "base_model.sha256: is missing"),
        ({"base_model": {"path": "x", "sha256": "\0"}}, "base_model.sha256: has invalid characters"),
        ({"dataset": {"path": "x", "sha256": "F" * 64}}, "dataset.sha256: is not a SHA-256"),
        ({"prompt": "2026-99-99"}, "prompt: must be one of"),
        ({"max_steps": 5}, "max_steps: not supported; use epochs instead"),
        ({"prompt": "plain"}, "prompt: "),
        ({"learning_rate": "fast"}, "learning_rate: must be a number"),
        ({"colour": "red"}, "colour: is unknown"),
        ({"batch_size": 0}, "batch_size: must be at least 1"),
        ({"lora": {"targets": ["q_proj"]}}, "lora.targets: SLM Studio trains all linear layers"),
    ],
)
def test_errors_are_named_by_field(engineer: Client, spec: RunSpec, changes: dict[str, Any], words: str) -> None:
    import yaml

    values = {**yaml.safe_load(spec.to_yaml()), **changes}
    answer = send(engineer, yaml.safe_dump(values, sort_keys=False))
    assert answer.status_code == 422
    html = answer.content.decode()
    section = html[html.index('id="spec-problems"') :]
    assert words in section[: section.index("</div>")]
    assert '<form id="new-run"' in html  # the usual form is there all the same
    assert not TrainingRun.objects.exists()


def test_several_errors_are_reported_together(engineer: Client, spec: RunSpec) -> None:
    other = replace(spec, dataset=replace(spec.dataset, sha256="0" * 64), max_steps=3)
    html = send(engineer, other.to_yaml()).content.decode()
    assert "dataset.sha256: " in html
    assert "max_steps: " in html


def test_different_contract_is_rejected(engineer: Client, spec: RunSpec) -> None:
    other = replace(spec, contract=replace(spec.contract, instruction="Do something else."))
    assert "was frozen with another instruction" in send(engineer, other.to_yaml()).content.decode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "must be a mapping"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        (b"a: [", "not YAML"),
        (b"a: 1\na: 2", "is a duplicate key"),
        (b"!!python/object:os.system {}", "tags (!name) are not supported"),
        (b"[" * 5000, "spec: "),
        (b"\0", "not text"),
        (b"a" * 210_000, "more than 200,000"),
        (BOMB, "aliases (*name) are not supported"),
        (b"seed: " + b"9" * 5000, "more than 1,000 digits"),
        (b'"\\ud800": 1', "not YAML"),
        (b'seed: !!int ""', "tags (!name) are not supported"),
    ],
)
def test_invalid_spec_is_rejected_with_a_message(engineer: Client, spec: RunSpec, data: bytes, words: str) -> None:
    answer = send(engineer, data)
    assert answer.status_code == 422
    html = answer.content.decode()
    assert words in html[html.index('id="spec-problems"') :]


def test_missing_file_is_reported(engineer: Client, spec: RunSpec) -> None:
    assert "Choose a YAML file first." in engineer.post(URL).content.decode()


def test_import_needs_the_run_permission(spec: RunSpec, login: Login) -> None:
    assert send(login("manager"), spec.to_yaml()).status_code == 403
    assert send(login("stranger"), spec.to_yaml()).status_code == 404
    assert login("engineer").get(URL).status_code == 405
