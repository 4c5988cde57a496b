"""Encoders as candidates: one that is trained is measured, another one is trained for the benchmark."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains

from evaluation.benchmarks import results, services
from evaluation.classical.services import kinds
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.policy.services import set_policy
from evaluation.runs.jobs import run_evaluation
from labeling.datasets.freeze import freeze
from labeling.models import Split
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.hashing import folder_hash
from tests.evaluation.benchmark_desk import answered, started
from tests.evaluation.encoders import make_encoder
from tests.evaluation.factories import World, make_base_model, make_version, make_world, rewrite, right
from tests.shared_rows import shared_fixture
from tests.training.ml_data import tiny_encoder
from training.estimates.services import recommended_method
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.models import BaseModel, TrainingRun
from training.runs.jobs import run_training

NEW = "/p/invoices/benchmark/new/"


@shared_fixture
def encoders(db: None, tmp_path: Path) -> World:
    """The base model is an encoder, and half the documents are in the validation split."""
    world = make_world(tmp_path / "small-base", documents=64, holdout=8)
    world.dataset = freeze(project=world.project, user=world.engineer, validation_share=0.5)
    assert services.available_documents(world.project).validation >= 20
    make_encoder(world)
    rewrite(world.training_run, dataset=world.dataset)
    world.training_run.refresh_from_db()
    return world


def test_an_encoder_is_trained_before_it_is_measured(encoders: World, client: Client) -> None:
    made = started(encoders, encoders.base_model, modes=["constrained", "free"])
    training = TrainingRun.objects.order_by("number").last()
    assert training is not None
    [run] = made.runs.with_model()
    assert (training.name, training.dataset, training.base_model) == (
        "Benchmark 1", encoders.dataset, encoders.base_model,
    )  # fmt: skip
    assert (run.training_run, run.mode, run.backend.kind) == (training, "constrained", "encoder")
    learned = encoders.dataset.items.filter(split=Split.TRAIN).values_list("document_id", flat=True)
    assert not set(learned) & set(made.documents)
    client.force_login(encoders.engineer)
    assertContains(client.get(made.get_absolute_url()), f"training run {training.number}")
    services.cancel(run=made, user=encoders.engineer)
    training.refresh_from_db()
    assert training.status == Status.CANCELLED


def test_an_equal_model_is_not_trained_again_and_quick_candidates_come_first(encoders: World, tmp_path: Path) -> None:
    encoder = encoders.base_model
    decoder = make_base_model(tmp_path / "decoder", slug="decoder", name="Decoder")
    inputs: Any = {"dataset": encoders.dataset, "base_model": encoder}
    method, _ = recommended_method(**inputs)
    equal = default_hyperparameters(**inputs, method=method)
    rewrite(encoders.training_run, hyperparameters=replace(equal, seed=equal.seed + 1).as_dict())
    before = TrainingRun.objects.count()
    made = started(encoders, encoder, decoder, *kinds(encoders.project.schema_version))
    assert TrainingRun.objects.count() == before + 1
    order = [run.backend.kind for run in made.runs.with_model().order_by("number")]
    assert order == [*(["classical"] * len(kinds(encoders.project.schema_version))), "base model", "encoder"]
    services.cancel(run=made, user=encoders.engineer)
    rewrite(encoders.training_run, hyperparameters=equal.as_dict())
    again = started(encoders, encoder, encoders.version)
    assert [run.training_run for run in again.runs.all()] == [encoders.training_run]
    assert TrainingRun.objects.count() == before + 1


def test_the_page_shows_from_what_a_model_was_trained_and_its_size(encoders: World, client: Client) -> None:
    made = started(encoders, encoders.version)
    answered(made.runs.get(), right)
    run = made.runs.with_model().get()
    known = encoders.dataset.counts["splits"]["train"]
    assert run.backend.labels() == known
    run.training_run.hyperparameters["train_share"] = 0.5
    assert run.backend.labels() == round(known / 2)
    client.force_login(encoders.engineer)
    assertContains(
        client.get(made.get_absolute_url()), "encoder · Small base 10M · 10.0 million parameters", html=False
    )


def test_the_newest_trained_models_are_selected_else_an_encoder_to_train(
    encoders: World, client: Client, tmp_path: Path
) -> None:
    client.force_login(encoders.engineer)

    def selected() -> set[str]:
        return set(client.get(NEW).context["form"].selected)

    decoder = make_base_model(tmp_path / "decoder", slug="decoder", name="Decoder")
    _, generating = make_version(encoders.project, encoders.engineer, encoders.dataset, decoder)
    keys = {f"version-{encoders.version.number}", f"version-{generating.number}"}
    assert keys <= selected()
    assert encoders.base_model.slug not in selected()
    rewrite(encoders.training_run, base_model=decoder)
    assert {f"version-{generating.number}", encoders.base_model.slug} <= selected()
    rewrite(encoders.base_model, sha256="")
    assert encoders.base_model.slug not in selected()
    with pytest.raises(Refused, match="is not prepared"):
        started(encoders, BaseModel.objects.get(pk=encoders.base_model.pk))


@pytest.mark.slow
def test_an_encoder_is_trained_measured_and_recommended_where_it_passes(
    encoders: World, forked_children: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real child processes, for two epochs instead of those of the preset."""
    monkeypatch.setattr(
        services, "default_hyperparameters", lambda **inputs: replace(default_hyperparameters(**inputs), epochs=2.0)
    )
    rewrite(encoders.base_model, folder=str(tiny_encoder()), sha256=folder_hash(tiny_encoder()))
    encoders.base_model.refresh_from_db()
    set_policy(
        project=encoders.project,
        user=encoders.manager,
        gates=GateSet((Gate("valid", "schema_valid_rate", ">=", 0.5), Gate("right", "field_error_rate", "<=", 0.95))),
    )
    made = started(encoders, encoders.base_model, kinds(encoders.project.schema_version)[0])
    classical, trained = made.runs.with_model().order_by("number")
    run_training(trained.training_run_id)
    for run in (trained, classical):
        run_evaluation(run.pk)
    made.refresh_from_db()
    trained.refresh_from_db()
    assert (trained.status, trained.error, made.status) == (Status.DONE, "", Status.DONE)
    assert trained.model_version is not None
    rows = {row["kind"]: row for row in results.rows(made, [trained, classical])}
    assert rows["encoder"]["trained_from"] == str(encoders.base_model)
    assert rows["encoder"]["parameters"] == encoders.base_model.parameters
    assert rows["encoder"]["labels"] == encoders.dataset.counts["splits"]["train"]
    assert trained.scores["schema_valid"]["rate"] > 0.9
    verdicts = {kind: row["verdict"]["status"] for kind, row in rows.items()}
    assert made.result["passes"] == ("PASS" in verdicts.values()), verdicts
