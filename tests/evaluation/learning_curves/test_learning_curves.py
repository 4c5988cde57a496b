"""Learning curves: of the classifier in a job, of a base model by training runs and evaluations."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django.asserts import assertContains, assertNotContains

from evaluation.learning_curves import study as curves
from evaluation.learning_curves.study import LEARNING_CURVE, points_of
from evaluation.models import EvalRun
from labeling.datasets.freeze import freeze
from labeling.models import Project, Study
from labeling.studies import services
from slmstudio.access import Role
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation.factories import make_base_model, rewrite
from tests.labeling.message_desk import add_messages, make_project, member
from tests.shared_rows import shared_fixture
from training.models import BaseModel, TrainingRun
from training.spec import RunSpec


@shared_fixture
def project(db: None) -> Project:
    made = make_project()
    add_messages(made, 90, labeled=True)
    freeze(project=made, user=None, validation_share=0.4, holdout_share=0.1)
    return made


def started(project: Project, **changes: Any) -> Study:
    spec = {"dataset": 1, **changes}
    return services.start(project=project, user=member(project, Role.ENGINEER), kind=LEARNING_CURVE, spec=spec)


def test_the_classifier_is_measured_on_nested_subsets(project: Project, client: Client) -> None:
    study = started(project, seeds=2)
    services.run_study(study.pk)
    study.refresh_from_db()
    points = points_of(study)
    assert (study.status, len(points)) == (Status.DONE, 7)
    assert points[0].labels < points[-1].labels
    validation = project.datasets.get().counts["splits"]["validation"]
    assert points[-1].fields == {"": [validation, validation], "queue": [validation, validation]}
    rows = [{"id": str(number)} for number in range(40)]
    few, many = curves.subset(rows, 5, 17), curves.subset(rows, 20, 17)
    assert few == many[:5]
    client.force_login(member(project, Role.ANNOTATOR))
    page = client.get(study.get_absolute_url())
    assert [curve.name for curve in page.context["fields"]] == ["queue"]


def test_too_few_documents_lead_to_the_form_of_a_freeze(project: Project, client: Client) -> None:
    add_messages(project, 4, labeled=True, prefix="z")
    dataset = freeze(project=project, user=None, validation_share=0.0)
    with pytest.raises(Refused) as refused:
        started(project, dataset=dataset.number)
    assert (refused.value.field, refused.value.code) == ("dataset", "few_documents")
    client.force_login(member(project, Role.ENGINEER))
    page = client.get(reverse("study_new", args=["messages", "learning-curve"]), {"dataset": dataset.number})
    share = client.get(page.context["link"]["url"]).context["form"]["validation"].value()
    outside = dataset.counts["splits"]["train"]
    assert int(share) == curves.validation_share(outside)
    assert curves.MIN_VALIDATION < int(share) / 100 * outside < outside - curves.MIN_TRAIN


@pytest.fixture
def runs_of_points(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A curve of a base model whose training runs are accepted without measured lengths."""
    monkeypatch.setattr("training.runs.services.check_lengths", lambda *_: None)
    monkeypatch.setattr(curves, "recommended_method", lambda **_: ("full", ""))
    return started(project, model=make_base_model(tmp_path / "base").slug, seeds=1)


def end_evaluations(study: Study) -> None:
    for right, point in enumerate(points_of(study), start=1):
        runs = EvalRun.objects.filter(number=point.eval_run or 0)
        runs.update(
            status=Status.DONE,
            scores={"field_exact": {"k": right, "n": 4}, "per_field": {"queue": {"k": right, "n": 4}}},
        )
    services.advance(study.pk)
    study.refresh_from_db()


def test_a_base_model_has_a_run_for_each_point(runs_of_points: Study, client: Client) -> None:
    study = runs_of_points
    specs = [RunSpec.from_yaml(run.spec) for run in TrainingRun.objects.order_by("number")]
    assert [spec.train_share for spec in specs] == [0.12, 0.25, 0.5, 1.0]
    assert {spec.method for spec in specs} == {"full"}, "the recommended method"
    assert [run.split for run in EvalRun.objects.all()] == ["validation"] * 4
    assert study.status == Status.RUNNING
    end_evaluations(study)
    assert study.status == Status.DONE
    assert [point.fields["queue"] for point in points_of(study)] == [[1, 4], [2, 4], [3, 4], [4, 4]]
    client.force_login(member(study.project, Role.ANNOTATOR))
    assert client.get(study.get_absolute_url()).status_code == 200


def test_a_version_offers_a_curve_of_an_encoder_until_it_has_one(
    project: Project, tmp_path: Path, client: Client
) -> None:
    client.force_login(member(project, Role.ENGINEER))
    page = reverse("dataset", args=[project.slug, 1])
    base = make_base_model(tmp_path / "encoder")
    assertNotContains(client.get(page), "Measure a learning curve")
    rewrite(base, family=BaseModel.Family.ENCODER)
    address = (
        f"{reverse('study_new', args=[project.slug, 'learning-curve'])}?dataset=1&amp;model={base.slug}&amp;seeds=1"
    )
    assertContains(client.get(page), address)
    form = client.get(address.replace("&amp;", "&")).context["form"]
    assert [str(form[name].value()) for name in ("dataset", "model", "seeds")] == ["1", base.slug, "1"]
    study = started(project, model=base.slug, seeds=1)
    assert [run.backend.kind for run in EvalRun.objects.all()] == ["encoder"] * 4
    end_evaluations(study)
    assertContains(client.get(page), f'href="{study.get_absolute_url()}"')
    client.force_login(member(project, Role.ANNOTATOR))
    assertContains(client.get(page), f'href="{study.get_absolute_url()}"')


def test_cancelling_a_curve_cancels_its_runs_and_resuming_starts_others(runs_of_points: Study) -> None:
    study, user = runs_of_points, member(runs_of_points.project, Role.ENGINEER)
    assert services.cancel(study=study, user=user)
    assert set(TrainingRun.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    assert set(EvalRun.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    study.refresh_from_db()
    assert study.status == Status.CANCELLED
    services.resume(study=study, user=user)
    study.refresh_from_db()
    assert (study.status, TrainingRun.objects.count()) == (Status.RUNNING, 8)
    end_evaluations(study)
    assert study.status == Status.DONE
