"""The new-run form: defaults, errors at their fields, lengths before the start."""

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import django_rq
import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains

from labeling.models import DatasetVersion
from slmstudio.runs.models import Status
from tests.training.fakes import start_run
from training.base_models.catalog import CATALOG
from training.base_models.services import sync_catalog
from training.hyperparameters.definitions import Hyperparameters
from training.hyperparameters.presets import preset
from training.models import BaseModel, LengthReport, ModelDownload, TrainingRun
from training.runs.forms import NewRunForm
from training.runs.queries import length_reports
from training.runs.run_spec import hyperparameters_of
from training.search.study import Search
from training.spec import RunSpec

pytestmark = pytest.mark.usefixtures("queues")
URL = "/p/receipts/training/new/"
LENGTHS = "/p/receipts/training/lengths/"
HTMX = {"HX-Request": "true"}
Login = Callable[[str], Client]


def filled(client: Client, **changes: Any) -> dict[str, Any]:
    """What a browser sends for an untouched form, with some changes."""
    form: NewRunForm = client.get(URL).context["form"]
    values = {bound.name: bound.value() for bound in form if bound.value() not in (None, False)}
    return {**values, **changes}


@pytest.fixture
def engineer(dataset: DatasetVersion, tiny_base_model: BaseModel, login: Login) -> Client:
    return login("engineer")


def test_unchanged_form_starts_the_preset(engineer: Client, lengths: LengthReport) -> None:
    answer = engineer.post(URL, filled(engineer))
    run = TrainingRun.objects.get()
    assert answer.status_code == 302
    assert answer["Location"] == run.get_absolute_url()
    spec, usual = RunSpec.from_yaml(run.spec), preset(lengths.dataset.counts["splits"]["train"])
    assert (spec.learning_rate, spec.epochs, spec.batch_size) == (usual.learning_rate, usual.epochs, usual.batch_size)
    assert (spec.seed, spec.too_long, spec.lora.r) == (usual.seed, "windows", usual.lora_r)
    assert run.created_by is not None
    assert run.created_by.get_username() == "engineer"


def test_nul_in_the_base_model_is_rejected(engineer: Client, lengths: LengthReport) -> None:
    assert engineer.get(f"{URL}?base_model=%00").context["base_model"] == lengths.base_model
    sent = filled(engineer, base_model="tiny\0")
    for headers in ({}, HTMX):
        assert engineer.post(URL, sent, headers=headers).status_code == 422
        assert engineer.get(f"{LENGTHS}?dataset=1&base_model=%00", headers=headers).status_code == 422


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {
                "learning_rate": "7", "epochs": "0", "lora_r": "0", "seed": "-1", "warmup_ratio": "2",
                "early_stopping": "0",
            },
            [
                "Learning rate: ", "Epochs: ", "LoRA rank: ", "Seed: 0 to 2,147,483,647", "Warm-up: 0 to 0.9",
                "Early stopping: 1 to 100",
            ],
        ),
        (
            {"method": "qlora", "precision": "fp16", "devices": "2"},
            ["QLoRA needs a CUDA GPU", "fp16 needs a CUDA GPU", "more than one GPU"],
        ),
        ({"max_length": "4096"}, ["The model reads at most 2,048 tokens"]),
        (
            {
                "learning_rate": "nan", "epochs": "", "effective_batch": "0", "base_model": "gpt-17", "dataset": "99",
                "method": "magic", "trackers": "mlflow", "name": "x" * 121,
            },
            [
                "Enter a number", "This field is required", "The effective batch size is at least 1",
                "Base model not found. Available: tiny-random.", "Dataset version not found", "Select a valid choice",
                "Select a valid choice", "at most 120 characters",
            ],
        ),
        ({"effective_batch": "999999"}, ["at most 4,096"]),
    ],
)  # fmt: skip
def test_invalid_values_are_reported_at_their_fields(
    engineer: Client, lengths: LengthReport, changes: dict[str, str], expected: list[str]
) -> None:
    answer = engineer.post(URL, filled(engineer, **changes), headers=HTMX)
    assert answer.status_code == 422
    html = answer.content.decode()
    for field, words in zip(changes, expected, strict=True):
        field_html = html[html.index(f'id="{field}-hint"') :]
        assert words in field_html[: field_html.index("</div>")], field
    assert not TrainingRun.objects.exists()


def test_run_needs_lengths_which_choosing_requests_once(
    engineer: Client, dataset: DatasetVersion, django_capture_on_commit_callbacks: Any
) -> None:
    page = engineer.get(URL).content.decode()
    assert 'type="submit" disabled' in page
    assert f'hx-post="{LENGTHS}" hx-trigger="load"' in page
    answer = engineer.post(URL, filled(engineer))
    assert answer.status_code == 422
    assert "not measured yet" in answer.content.decode()
    assert not LengthReport.objects.exists()  # looking changes nothing
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(2):
            answer = engineer.post(LENGTHS, {"dataset": "1", "base_model": "tiny-random"}, headers=HTMX)
            assert answer.status_code == 200
    assert LengthReport.objects.get().status == Status.QUEUED
    assert len(django_rq.get_queue("default").jobs) == 1
    fragment = answer.content.decode()
    assert "every 1s" in fragment
    assert "Ask an administrator" in fragment
    assert "disabled" in fragment


def test_known_lengths_enable_the_start_and_failed_ones_can_be_repeated(
    engineer: Client, lengths: LengthReport
) -> None:
    choice = {"dataset": "1", "base_model": "tiny-random"}
    fragment = engineer.get(LENGTHS, choice, headers=HTMX).content.decode()
    assert "every 1s" not in fragment
    assert 'id="start" hx-swap-oob="true"' in fragment
    assert "disabled" not in fragment
    assert "data-over" in fragment
    assert "300" in fragment
    LengthReport.objects.update(status=Status.FAILED, error="The disk is full.")
    fragment = engineer.get(LENGTHS, choice, headers=HTMX).content.decode()
    for words in ("The disk is full.", "Try again", "disabled"):
        assert words in fragment


def test_lengths_of_nothing_are_rejected(engineer: Client) -> None:
    choices: list[dict[str, str]] = [{}, {"dataset": "99", "base_model": "x"}, {"dataset": "a", "base_model": ""}]
    for choice in choices:
        assert engineer.get(LENGTHS, choice).status_code == 422
        assert engineer.post(LENGTHS, choice).status_code == 422
    assert not LengthReport.objects.exists()


def test_unchanged_settings_follow_the_method(engineer: Client, lengths: LengthReport) -> None:
    page = engineer.get(URL)
    sent = {**filled(engineer), "was": page.context["was"], "method": "full", "epochs": "11"}
    answer = engineer.get(URL, sent, headers=HTMX)
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.content.decode()))
    assert float(fields["learning_rate"]) == preset(1, "full").learning_rate
    assert fields["epochs"] == "11"
    assert answer["HX-Replace-Url"] == f"{URL}?dataset=1&base_model=tiny-random&method=full"


def test_unchanged_duplicate_has_the_settings_of_its_run(engineer: Client, lengths: LengthReport) -> None:
    hyperparameters = Hyperparameters(
        learning_rate=2.125e-05, epochs=2.1234567, batch_size=2, accumulation=3, lora_r=8, lora_alpha=24,
        lora_dropout=0.1234567, seed=4, max_length=512, too_long="leave_out", warmup_ratio=0.2345678,
        scheduler="linear", precision="fp32", activation_checkpointing=True, early_stopping=3,
        best_metric="field_accuracy", eval_every=7, save_every=9, sample_documents=50, sample_seconds=60,
        trackers=("tensorboard", "wandb"), train_share=0.55, weight_averaging="ema", ema_decay=0.987,
        keep_best_and_last=False, augmentation="exchange",
    )  # fmt: skip
    assert all(
        getattr(hyperparameters, name) != value
        for name, value in asdict(Hyperparameters()).items()
        if name not in ("method", "devices", "silver", "without_heads")
    )
    start_run(lengths, name="mine", **asdict(hyperparameters))
    form: NewRunForm = engineer.get(URL, {"from": "1"}).context["form"]
    sent = {bound.name: bound.value() for bound in form if bound.value() not in (None, False)}
    assert sent["name"] == "mine"
    assert engineer.post(URL, sent).status_code == 302
    assert hyperparameters_of(RunSpec.from_yaml(TrainingRun.objects.get(number=2).spec)) == hyperparameters


def test_duplicate_names_the_resolved_precision(engineer: Client, lengths: LengthReport) -> None:
    def shown() -> Any:
        return engineer.get(URL, {"from": "1"}).context["form"]["precision"].value()

    engineer.post(URL, filled(engineer))
    assert shown() == "auto"
    TrainingRun.objects.update(status=Status.DONE, facts={"precision": "bf16"})
    assert shown() == "bf16"


def test_a_studio_without_base_models_registers_the_catalog(dataset: DatasetVersion, login: Login) -> None:
    for _ in range(2):
        form = login("engineer").get(URL).context["form"]
        assert {value for value, _ in form.fields["base_model"].choices} == {known.slug for known in CATALOG}
    default = BaseModel.objects.default()
    assert default is not None
    assert form["base_model"].value() == default.slug
    assert BaseModel.objects.count() == len(CATALOG)


def test_a_model_that_could_not_be_prepared_is_not_offered(dataset: DatasetVersion, login: Login) -> None:
    engineer = login("engineer")
    sync_catalog()
    broken = BaseModel.objects.create(
        slug="broken", name="Broken", source="folder", location="/m/broken", instruction_tuned=True, parameters=10**12
    )
    assert engineer.get(URL).context["form"]["base_model"].value() == "broken"
    ModelDownload.objects.create(base_model=broken, status=Status.FAILED, error="No language model.")
    form = engineer.get(URL).context["form"]
    assert "broken" not in {value for value, _ in form.fields["base_model"].choices} | {form["base_model"].value()}
    assert broken not in length_reports(dataset)[1]
    assert "broken" not in dict(Search().choices(dataset.project)["base_model"])


def test_opening_the_form_prepares_nothing(dataset: DatasetVersion, login: Login) -> None:
    page = login("engineer").get(URL)
    assert (page.context["lengths_requested"], page.context["preparation_needed"]) == (False, True)
    assertNotContains(page, 'hx-trigger="load"')
    assertContains(page, "Prepare and measure")


def test_invalid_query_gives_the_default_form(engineer: Client, lengths: LengthReport) -> None:
    for nonsense in ({"from": "99"}, {"from": "x", "dataset": "-1"}, {"was": "::", "method": "evil"}):
        answer = engineer.get(URL, nonsense)
        assert answer.status_code == 200
        assert answer.context["form"]["method"].value() == "lora"
