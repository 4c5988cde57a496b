"""The recommended method: when it is full fine-tuning, and that forms, commands and searches start with it."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from labeling.models import Project
from slmstudio.workers.hardware import Hardware
from tests.labeling.api_client import api_of
from tests.training.estimates.machines import SMOLLM, machine
from tests.training.fakes import start_run
from training.estimates.services import SMALL_MODEL, recommended_method
from training.hyperparameters.presets import preset
from training.models import BaseModel, LengthReport, TrainingRun
from training.runs.run_spec import hyperparameters_of
from training.spec import RunSpec

URL = "/p/receipts/training/new/"
SEARCH = "/p/receipts/studies/search/new/"
HTMX = {"HX-Request": "true"}
FULL = preset(1, "full")
SetHardware = Callable[[Hardware | None], None]


@pytest.fixture
def small_model(lengths: LengthReport, hardware: SetHardware, monkeypatch: pytest.MonkeyPatch) -> BaseModel:
    """SmolLM2-135M by its shape, on a worker where full fine-tuning fits."""
    monkeypatch.setattr("training.estimates.services._free_disk_bytes", lambda: None)
    BaseModel.objects.filter(pk=lengths.base_model_id).update(shape=SMOLLM, context=8192)
    hardware(machine(16))
    return BaseModel.objects.get(pk=lengths.base_model_id)


@pytest.fixture
def engineer(small_model: BaseModel, login: Callable[[str], Client]) -> Client:
    return login("engineer")


def values_of(answer: Any) -> dict[str, Any]:
    """What a browser sends for the form of a response."""
    form = answer.context["form"]
    sent = {bound.name: bound.value() for bound in form if bound.value() not in (None, False, [])}
    return {**sent, "was": answer.context["was"]}


def method_of(answer: Any) -> tuple[str, float, str]:
    form = answer.context["form"]
    return form["method"].value(), float(form["epochs"].value()), form["learning_rate"].value()


def test_full_is_recommended_for_an_extraction_with_a_small_model_where_it_fits(
    small_model: BaseModel, lengths: LengthReport, hardware: SetHardware, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = []

    def method() -> str:
        base_model = BaseModel.objects.get(pk=small_model.pk)
        recommended, reason = recommended_method(dataset=lengths.dataset, base_model=base_model)
        reasons.append(reason)
        return recommended

    assert method() == "full"
    hardware(None)
    assert method() == "lora", "no worker has reported its hardware"
    hardware(machine(3))
    assert method() == "lora"
    hardware(machine(64))
    BaseModel.objects.filter(pk=small_model.pk).update(parameters=SMALL_MODEL + 1)
    assert method() == "lora"
    BaseModel.objects.filter(pk=small_model.pk).update(parameters=SMALL_MODEL)
    with monkeypatch.context() as patch:
        patch.setattr("training.estimates.services.task_of", lambda fields: "classification")
        assert method() == "lora"
    assert method() == "full"
    lengths.delete()
    assert method() == "lora", "lengths are unknown"
    assert len(set(reasons)) == 6


@pytest.mark.usefixtures("queues")
def test_unchanged_form_starts_the_recommended_method(engineer: Client) -> None:
    page = engineer.get(URL)
    assert method_of(page) == ("full", FULL.epochs, "0.0003")
    estimate = engineer.get(f"{URL}estimate/", values_of(page)).context["estimate"]
    assert engineer.post(URL, values_of(page)).status_code == 302
    run = TrainingRun.objects.get()
    started = hyperparameters_of(RunSpec.from_yaml(run.spec))
    assert (started.method, started.epochs, started.learning_rate) == ("full", FULL.epochs, FULL.learning_rate)
    assert run.estimate["memory_bytes"] == estimate.memory_bytes


def test_a_chosen_method_is_kept_and_a_proposed_one_follows(engineer: Client, hardware: SetHardware) -> None:
    page = engineer.get(URL)
    chosen = engineer.get(URL, {**values_of(page), "method": "lora"}, headers=HTMX)
    assert method_of(chosen) == ("lora", preset(1).epochs, "0.001")
    assert chosen["HX-Replace-Url"] == f"{URL}?dataset=1&base_model=tiny-random&method=lora"
    assert 'data-apply="method" data-value="full"' in chosen.content.decode()
    again = engineer.get(URL, values_of(chosen), headers=HTMX)
    assert method_of(again)[0] == "lora"
    assert method_of(engineer.get(chosen["HX-Replace-Url"]))[0] == "lora"

    hardware(machine(3))
    follows = engineer.get(URL, values_of(page), headers=HTMX)
    assert method_of(follows) == ("lora", preset(1).epochs, "0.001")
    assert "method" not in follows["HX-Replace-Url"]
    full = engineer.get(URL, {**values_of(follows), "method": "full"}, headers=HTMX)
    assert method_of(engineer.get(URL, values_of(full), headers=HTMX))[0] == "full"


def test_a_rejected_form_still_proposes(engineer: Client, hardware: SetHardware) -> None:
    rejected = engineer.post(URL, {**values_of(engineer.get(URL)), "seed": "-1"}, headers=HTMX)
    assert rejected.status_code == 422
    part = engineer.get("/p/receipts/training/lengths/", {"dataset": "1", "base_model": "tiny-random"}, headers=HTMX)
    assert 'data-recommended="full"' in part.content.decode()
    hardware(machine(3))
    assert method_of(engineer.get(URL, values_of(rejected), headers=HTMX))[0] == "lora"


@pytest.mark.usefixtures("queues")
def test_the_method_of_an_earlier_run_is_kept(engineer: Client, lengths: LengthReport) -> None:
    start_run(lengths, epochs=2.5)
    page = engineer.get(URL, {"from": "1"})
    assert method_of(page)[:2] == ("lora", 2.5)
    assert method_of(engineer.get(URL, values_of(page), headers=HTMX))[:2] == ("lora", 2.5)


@pytest.mark.usefixtures("queues")
def test_train_command_starts_the_recommended_method(small_model: BaseModel, lengths: LengthReport) -> None:
    for arguments, method in (
        ([], "full"),
        (["--set", "lora_r=8"], "lora"),
        (["--method", "lora"], "lora"),
        (["--set", "epochs=2"], "full"),
    ):
        call_command("train", lengths.dataset.project.slug, *arguments, stdout=StringIO())
        assert RunSpec.from_yaml(TrainingRun.objects.latest("number").spec).method == method


def test_search_form_starts_with_the_recommended_method(engineer: Client, hardware: SetHardware) -> None:
    form = engineer.get(SEARCH).context["form"]
    assert form["method"].value() == ["full"]
    low, high = (float(form[f"learning_rate_{end}"].value()) for end in ("low", "high"))
    assert low < FULL.learning_rate < high
    assert float(form["epochs_high"].value()) >= FULL.epochs
    hardware(None)
    assert engineer.get(SEARCH).context["form"]["method"].value() == ["lora"]


def test_untouched_values_of_a_search_follow_the_base_model(engineer: Client, small_model: BaseModel) -> None:
    BaseModel.objects.create(
        slug="large", name="Large", source=small_model.source, location="large", parameters=9_000_000_000, context=2048
    )
    first = engineer.get(SEARCH, {"dataset": "1", "base_model": str(small_model.slug)}).context
    shown = {bound.name: bound.value() for bound in first["form"]}
    assert shown["method"] == ["full"]
    sent = {**shown, "base_model": "large", "defaults": first["defaults"], "hours": "9"}
    followed = engineer.get(SEARCH, sent).context
    form = followed["form"]
    assert (form["method"].value(), form["hours"].value()) == (["lora"], "9")
    assert form["learning_rate_high"].value() != shown["learning_rate_high"]
    typed = engineer.get(SEARCH, {**sent, "learning_rate_high": "0.0007", "method": ["lora", "full"]}).context["form"]
    assert (typed["learning_rate_high"].value(), typed["method"].value()) == ("0.0007", ["lora", "full"])
    back = {bound.name: bound.value() for bound in form} | {
        "base_model": small_model.slug,
        "defaults": followed["defaults"],
    }
    assert engineer.get(SEARCH, back).context["form"]["method"].value() == ["full"]
    for name in ("dataset", "base_model", "defaults", "batch"):
        assert engineer.get(SEARCH, {**sent, name: "\0 x"}).status_code == 200, name


@pytest.mark.usefixtures("queues")
def test_a_search_over_rest_without_a_space_has_the_recommended_method(
    engineer: Client, small_model: BaseModel, project: Project, people: dict[str, Any]
) -> None:
    api = api_of(project, people["engineer"], "read", "train")
    spec = {"base_model": small_model.slug, "hours": 0.5, "trials": 1}
    assert api.post("studies", {"kind": "search", "spec": spec}).status == 202
    assert api.post("studies", {"kind": "search", "spec": {**spec, "method": ["lora"], "lora_r": [4]}}).status == 202
    second, first = project.studies.newest("search")
    assert (first.spec["method"], second.spec["method"], second.spec["lora_r"]) == (["full"], ["lora"], [4])
    parameters = first.trials[0]["parameters"]
    assert (parameters["learning_rate"], parameters["epochs"]) == (FULL.learning_rate, FULL.epochs)
