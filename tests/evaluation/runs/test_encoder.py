"""An encoder's model version is evaluated as any model, without prompts and decoding modes."""

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from evaluation.classical import services as classical
from evaluation.inference import local
from evaluation.models import EvalOutput, EvalRun, PrelabelRun
from evaluation.prelabels.services import start_prelabels
from evaluation.runs import outputs, summary, tasks
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.datasets.freeze import freeze
from labeling.models import Split
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation.encoders import answer_here, make_encoder, train_encoder
from tests.evaluation.factories import World, rewrite
from tests.evaluation.prelabels.test_services import add_fresh
from tests.labeling.label_desk import change_schema


@pytest.mark.parametrize("concurrency", [1, 4])
def test_an_encoder_is_evaluated_from_the_files_to_the_figures(
    world: World, engineer: Client, monkeypatch: pytest.MonkeyPatch, concurrency: int
) -> None:
    train_encoder(world)
    monkeypatch.setattr(local, "supervise", answer_here)
    run = start_evaluation(
        project=world.project,
        user=world.engineer,
        dataset=world.dataset,
        model=world.training_run,
        split=Split.HOLDOUT,
        concurrency=concurrency,
        confirm_holdout=True,
    )
    run_evaluation(run.pk)
    run = EvalRun.objects.with_model().get(pk=run.pk)
    assert (run.status, run.error) == (Status.DONE, "")
    assert (run.backend.kind, run.backend.decodes, run.concurrency) == ("encoder", False, concurrency)
    assert run.scores["documents"] == EvalOutput.objects.filter(eval_run=run, finish_reason="stop").count() == 12
    assert summary.recompute_summary(run) == run.scores
    assert outputs.rows_match_file(run)
    assert tasks.describe_setup(run)["Device"] == "cpu"
    assert run.facts["docs_per_second"] > 0
    page = engineer.get(run.get_absolute_url()).content.decode()
    assert "Tokens" not in page
    assert f"{run.training_run}</a>" in page
    assert run.mode_label == "Encoder"
    assert "Decoding" not in tasks.describe_setup(run)


def test_an_encoder_without_heads_and_other_modes_are_refused(world: World, engineer: Client) -> None:
    make_encoder(world)

    def refusal(**changes: str) -> str:
        with pytest.raises(Refused) as caught:
            start_evaluation(
                project=world.project,
                user=world.engineer,
                dataset=world.dataset,
                **{"model": world.training_run, **changes},  # type: ignore[arg-type]
            )
        return caught.value.message

    assert "no heads before it is trained" in refusal(model=world.base_model)  # type: ignore[arg-type]
    assert "no decoding modes" in refusal(mode="free")
    new = reverse("eval_new", args=[world.project.slug])
    page = engineer.get(new)
    assert "mode" not in page.context["form"].fields
    assert f"base-{world.base_model.slug}" not in page.text
    assert world.version.choice_key in page.text
    order = {"model": world.version.choice_key, "dataset": "1", "split": "validation", "mode": "free"}
    assert engineer.post(new, order)["Location"] == EvalRun.objects.get().get_absolute_url()


def test_a_model_of_another_schema_version_is_refused_with_the_fields_that_differ(world: World) -> None:
    order = {"project": world.project, "user": world.engineer}
    [kind, *_] = classical.kinds(world.dataset.schema_version)
    rules = classical.get_or_create(**order, dataset=world.dataset, kind=kind)
    add_fresh(world)
    change_schema(world.project, world.owner, vendor={"maxLength": 90}, note={"type": "string"})
    dataset = freeze(**order, validation_share=0.3)
    start_evaluation(**order, dataset=dataset, model=world.training_run)  # a decoder reads the schema from its prompt

    def refusal(start: Callable[..., object], **model: object) -> tuple[str, bool]:
        with pytest.raises(Refused, match=r"schema v1.*v2.*vendor") as caught:
            start(**order, **model)
        return caught.value.field, "note" in caught.value.message

    assert refusal(start_evaluation, dataset=dataset, model=rules) == ("model", True)
    rewrite(world.training_run, facts={"hybrid": {"encoder": 1}})
    world.training_run.refresh_from_db()
    assert refusal(start_evaluation, dataset=dataset, model=world.training_run) == ("model", True)
    rewrite(world.training_run, facts={})
    make_encoder(world)
    assert refusal(start_evaluation, dataset=dataset, model=world.training_run) == ("model", True)
    assert refusal(start_prelabels, model_version=world.version) == ("model", True)
    assert EvalRun.objects.count() == 1
    assert not PrelabelRun.objects.exists()
    start_evaluation(**order, dataset=world.dataset, model=world.training_run)
