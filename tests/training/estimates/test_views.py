"""The estimate of a new run, with messages at the settings to change."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from labeling.models import DatasetVersion, Split
from labeling.projects.services import create_project
from slmstudio.runs.models import Status
from tests.training.estimates.machines import SMOLLM, machine
from tests.training.fakes import start_run
from training.estimates.services import estimate_for
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel, LengthReport, TrainingRun

URL = "/p/receipts/training/new/estimate/"
FORM = "/p/receipts/training/new/"
Login = Callable[[str], Client]


@pytest.fixture
def engineer(
    dataset: DatasetVersion, tiny_base_model: BaseModel, lengths: LengthReport, login: Login, hardware: Any
) -> Client:
    BaseModel.objects.filter(pk=tiny_base_model.pk).update(shape=SMOLLM, context=8192)
    return login("engineer")


def filled(client: Client, **changes: Any) -> dict[str, Any]:
    form = client.get(FORM).context["form"]
    values = {bound.name: bound.value() for bound in form if bound.value() not in (None, False, [])}
    return {**values, **changes}


def field_message(html: str, name: str) -> str:
    """The message at a field, swapped out of band."""
    message = re.search(rf'<div id="{name}-message"[^>]*>(.*?)</div>', html, re.DOTALL)
    return message[1] if message else ""


def test_page_shows_whether_it_fits_and_an_invalid_value_at_its_field(engineer: Client, hardware: Any) -> None:
    hardware(machine(16))
    answer = engineer.get(URL, filled(engineer))
    html = answer.content.decode()
    estimate = answer.context["estimate"]
    assert estimate.memory_bytes > SMOLLM["parameters"] * 4
    assert f"{estimate.steps:,} steps" in html
    assert "It fits." in html
    assert "field-error" not in html
    html = engineer.get(URL, filled(engineer, learning_rate="7")).content.decode()
    assert "Learning rate: " in field_message(html, "learning_rate")
    assert field_message(html, "epochs") == ""
    assert engineer.get(URL, {"dataset": "x"}).status_code == 200


def test_unfit_run_names_a_setting_and_a_fitting_value(engineer: Client, hardware: Any) -> None:
    hardware(machine(2.5))
    asked = filled(engineer, effective_batch=64, device_batch=64)
    answer = engineer.get(URL, asked)
    html = answer.content.decode()
    refused = answer.context["field_messages"]
    assert refused
    offered = {name: message["value"] for name, message in refused.items() if message["value"] is not None}
    assert offered
    for name, value in offered.items():
        assert f'data-apply="{name}" data-value="{value}"' in field_message(html, name)
    turned = {name: "on" if value is True else value for name, value in offered.items()}
    again = engineer.get(URL, {**asked, **turned})
    assert not again.context["field_messages"]
    assert "It fits." in again.content.decode()


def test_early_stopping_without_validation_is_shown_at_its_field(engineer: Client, lengths: LengthReport) -> None:
    for row in lengths.lengths:
        if row[1] == Split.VALIDATION:
            row[2] = 280
    lengths.save(update_fields=["lengths"])
    asked = filled(engineer, max_length="256", too_long="leave_out")
    assert field_message(engineer.get(URL, asked).content.decode(), "early_stopping") == ""
    html = engineer.get(URL, {**asked, "early_stopping": "3"}).content.decode()
    assert "all of them are longer than 256 tokens" in field_message(html, "early_stopping")


def test_cuda_options_are_disabled_without_a_gpu_worker(engineer: Client, hardware: Any) -> None:
    page = engineer.get(FORM).content.decode()
    assert re.search(r'<input[^>]*value="qlora"[^>]*disabled', page)
    assert 'name="devices"' not in page
    hardware(machine(64, gpus=1))
    page = engineer.get(FORM).content.decode()
    assert not re.search(r'<input[^>]*value="qlora"[^>]*disabled', page)
    assert "need a CUDA GPU" not in page
    assert 'name="devices"' not in page
    hardware(machine(64, gpus=2))
    assert 'name="devices"' in engineer.get(FORM).content.decode()


@pytest.mark.usefixtures("queues")
def test_several_gpus_share_a_step(engineer: Client, hardware: Any) -> None:
    hardware(machine(64, gpus=2))
    answer = engineer.post(FORM, filled(engineer, devices="2", effective_batch="9"))
    assert "9 documents cannot be split evenly over 2 GPUs; use 8." in answer.content.decode()
    answer = engineer.post(FORM, filled(engineer, devices="2", effective_batch="8"))
    assert answer.status_code == 302
    assert "devices: 2" in TrainingRun.objects.get().spec


@pytest.mark.usefixtures("queues")
def test_package_options_are_disabled_until_a_worker_has_them(engineer: Client, hardware: Any) -> None:
    bare, full = (replace(machine(64, gpus=1), packages=packages) for packages in ((), ("bitsandbytes", "wandb")))
    hardware(bare)
    page = engineer.get(FORM).content.decode()
    for value, package in (("qlora", "bitsandbytes"), ("wandb", "wandb")):
        assert re.search(rf'<input[^>]*value="{value}"[^>]*disabled', page)
        assert f"Install it on the worker: pip install {package}" in page
    assert not re.search(r'<input[^>]*value="tensorboard"[^>]*disabled', page)
    asked = filled(engineer, trackers=["wandb"])
    refused = engineer.post(FORM, asked)
    assert refused.status_code == 422
    assert refused.context["form"].errors["trackers"]
    hardware(full)
    assert "pip install" not in engineer.get(FORM).content.decode()
    assert engineer.post(FORM, asked).status_code == 302


@pytest.mark.usefixtures("queues")
def test_bf16_is_assumed_until_measured(engineer: Client, hardware: Any, lengths: LengthReport) -> None:
    here = replace(machine(64), bf16=True)
    hardware(here)
    lengths.base_model.refresh_from_db()

    def ended(timed: str, **hyperparameters: Any) -> None:
        run = start_run(lengths, **hyperparameters)
        facts = {"machine": here.kind, "device": "cpu", "precision": timed}
        run.status, run.facts, run.finished_at = Status.DONE, facts, timezone.now()
        run.save()

    def activations() -> int:
        estimate = estimate_for(
            dataset=lengths.dataset, base_model=lengths.base_model, hyperparameters=Hyperparameters()
        )
        assert estimate is not None
        return next(part.bytes for part in estimate.parts if part.title == "activations")

    by_its_flags = activations()
    ended("fp32", precision="fp32")
    assert activations() == by_its_flags, "a person chose fp32, which says nothing"
    ended("fp32")
    assert activations() == pytest.approx(1.9 * by_its_flags, rel=0.05)
    ended("bf16")
    assert activations() == by_its_flags


def test_throughput_matches_project_machine_and_precision(
    engineer: Client, hardware: Any, lengths: LengthReport, people: dict[str, Any]
) -> None:
    here = machine(64)
    hardware(here)
    lengths.base_model.refresh_from_db()
    dataset, base_model, hyperparameters = lengths.dataset, lengths.base_model, Hyperparameters()

    def ran(project: Any, **facts: Any) -> TrainingRun:
        spec = start_run(lengths).spec
        known = {"tokens": 50_000, "seconds": 100, "device": "cpu", "precision": "fp32", "machine": here.kind, **facts}
        number = TrainingRun.objects.count() + 1
        made = {"project": project, "number": number, "dataset": dataset, "base_model": base_model, "spec": spec}
        return TrainingRun.objects.create(**made, status=Status.DONE, facts=known, finished_at=timezone.now())

    def source() -> str:
        estimate = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=hyperparameters)
        assert estimate is not None
        return estimate.seconds_from

    rough = source()
    other = create_project(owner=people["owner"], name="Other", slug="other", template="receipt")
    ran(dataset.project, machine="another processor, 64 cores")
    ran(dataset.project, precision="bf16")
    assert source() == rough
    ran(other)
    assert source() == "from an earlier run of another project, which reached 500 tokens per second"
    own = ran(dataset.project, resumed_from=40)  # seconds are of the whole run
    ran(other, tokens=90_000)
    assert source() == f"from run {own.number}, which reached 500 tokens per second"
    reached = f"from run {own.number}, which reached 500 tokens per second with other settings, scaled by"
    hyperparameters = Hyperparameters(lora_r=64)
    assert source() == f"{reached} operations per token"
    hyperparameters = Hyperparameters(devices=4)
    assert source() == f"{reached} the number of GPUs"
    hyperparameters = Hyperparameters(devices=4, method="full")
    assert source() == f"{reached} operations per token and the number of GPUs"
