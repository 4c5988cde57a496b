"""Evaluations of both model versions of a run that kept best and last, and deleted weights."""

from collections.abc import Callable
from typing import Any

import pytest

from evaluation.models import EvalRun
from evaluation.runs.forms import EvaluationForm
from evaluation.runs.services import start_evaluation
from labeling.models import Split
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, folder_manifest, sha256_file
from tests.evaluation.factories import World, complete, right
from tests.shared_rows import shared_fixture
from training.models import ModelVersion
from training.runs.retention import delete_weights


@shared_fixture
def last(world: World) -> ModelVersion:
    """The version with the weights of the last step, next to the chosen one, which has the best."""
    ModelVersion.objects.filter(pk=world.version.pk).update(checkpoint="best", step=4)
    key = f"{world.training_run.folder_key}/other/merged"
    artifacts.write_text(f"{key}/model.safetensors", "weights of the last step")
    artifacts.write_text(f"{key}/tokenizer.json", "{}")
    folder = artifacts.local_path(key)
    return ModelVersion.objects.create(
        project=world.project,
        number=world.version.number + 1,
        training_run=world.training_run,
        is_alternative=True,
        checkpoint="last",
        step=9,
        folder_key=key,
        sha256=folder_hash(folder),
        tokenizer_sha256=sha256_file(folder / "tokenizer.json"),
        files=[dict(file) for file in folder_manifest(folder)],
    )


def start(world: World, model: Any) -> EvalRun:
    return start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=model, split=Split.VALIDATION
    )


def test_both_are_choices_and_two_models(world: World, last: ModelVersion) -> None:
    form = EvaluationForm(project=world.project)
    own = dict(form.fields["model"].choices)["Fine-tuned here"]  # type: ignore[attr-defined]
    assert [key for key, _ in own] == ["run-1", f"version-{last.number}"]
    assert [label.rpartition(", ")[2] for _, label in own] == ["step 4)", "step 9)"]
    chosen, other = (start(world, form.models[key]) for key, _ in own)
    assert (other.model_version, other.training_run) == (last, world.training_run)
    complete(chosen, right, version=world.version)
    complete(other, right)
    assert chosen.backend.key != other.backend.key
    assert [run.backend.choice_key for run in (chosen, other)] == ["run-1", f"version-{last.number}"]
    for run in (chosen, other):
        assert list(EvalRun.objects.of_model(run.backend.key)) == [run]
    assert other.backend.current_identity()["model"] == last.sha256
    assert other.backend.weights().folder == artifacts.local_path(last.folder_key)  # type: ignore[attr-defined]


def test_queued_evaluation_of_the_run_is_of_the_chosen_weights(world: World, last: ModelVersion) -> None:
    run = start(world, world.training_run)
    assert (run.model_version, run.backend.key.alternative) == (None, None)
    assert list(EvalRun.objects.of_model(run.backend.key)) == [run]


def test_weights_in_use_stay_and_others_are_deleted(
    world: World, last: ModelVersion, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    run = start(world, last)
    with pytest.raises(Refused) as caught:
        delete_weights(version=last, user=world.engineer)
    assert caught.value.code == "weights_needed"
    complete(run, right)
    with django_capture_on_commit_callbacks(execute=True):
        assert delete_weights(version=last, user=world.engineer) == last.size_bytes > 0
    assert not artifacts.local_path(last.folder_key).exists()
    assert artifacts.local_path(world.version.folder_key).exists()
    run.refresh_from_db()
    assert run.scores["documents"] > 0
    assert f"version-{last.number}" not in EvaluationForm(project=world.project).models
    with pytest.raises(Refused, match="were deleted"):
        start(world, ModelVersion.objects.get(pk=last.pk))
    assert delete_weights(version=last, user=world.engineer) == 0
