"""Learning curves: of the classifier in a job, of a base model by training runs and evaluations."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from evaluation.learning_curves import jobs, services
from evaluation.models import EvalRun, LearningCurve, LearningPoint
from labeling.datasets.freeze import freeze
from labeling.models import Project
from slmstudio.access import Role
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation.factories import make_base_model
from tests.labeling.message_desk import add_messages, make_project, member
from tests.shared_rows import shared_fixture
from training.models import TrainingRun
from training.spec import RunSpec


@shared_fixture
def project(db: None) -> Project:
    made = make_project()
    add_messages(made, 90, labeled=True)
    freeze(project=made, user=None, validation_share=0.4, holdout_share=0.1)
    return made


def started(project: Project, **options: Any) -> LearningCurve:
    dataset = project.datasets.get()
    return services.start_learning_curve(
        project=project, user=member(project, Role.ENGINEER), dataset=dataset, **options
    )  # fmt: skip


def test_the_classifier_is_measured_on_nested_subsets(project: Project) -> None:
    curve = started(project, seeds=2)
    jobs.run_learning_curve(curve.pk)
    curve.refresh_from_db()
    points = list(curve.points.order_by("share", "seed"))
    assert (curve.status, len(points)) == (Status.DONE, 7)
    assert points[0].labels < points[-1].labels
    validation = curve.dataset.counts["splits"]["validation"]
    assert points[-1].fields == {"": [validation, validation], "queue": [validation, validation]}
    rows = [{"id": str(number)} for number in range(40)]
    few, many = services.subset(rows, 5, 17), services.subset(rows, 20, 17)
    assert few == many[:5]


def test_too_few_documents_are_refused(project: Project) -> None:
    add_messages(project, 4, labeled=True, prefix="z")
    dataset = freeze(project=project, user=None, validation_share=0.0)
    with pytest.raises(Refused) as refused:
        services.start_learning_curve(project=project, user=member(project, Role.ENGINEER), dataset=dataset)
    assert (refused.value.field, refused.value.code) == ("dataset", services.FEW_DOCUMENTS)
    with pytest.raises(Refused) as refused:
        services.start_learning_curve(
            project=project, user=member(project, Role.ENGINEER), dataset=project.datasets.earliest("number"), seeds=9
        )
    assert refused.value.field == "seeds"


@pytest.fixture
def runs_of_points(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LearningCurve:
    """A curve of a base model whose training runs are accepted without measured lengths."""
    monkeypatch.setattr("training.runs.services.check_lengths", lambda *_: None)
    return started(project, base_model=make_base_model(tmp_path / "base"), seeds=1)


def test_a_base_model_has_a_run_for_each_point(runs_of_points: LearningCurve) -> None:
    curve = runs_of_points
    specs = [RunSpec.from_yaml(run.spec) for run in TrainingRun.objects.order_by("number")]
    assert [spec.train_share for spec in specs] == [0.12, 0.25, 0.5, 1.0]
    assert [run.split for run in EvalRun.objects.all()] == ["validation"] * 4
    assert curve.status == Status.RUNNING
    for right, point in enumerate(curve.points.order_by("share"), start=1):
        EvalRun.objects.filter(pk=point.eval_run_id).update(
            status=Status.DONE,
            scores={"field_exact": {"k": right, "n": 4}, "per_field": {"queue": {"k": right, "n": 4}}},
        )
        services.on_evaluation_ended(EvalRun.objects.get(pk=point.eval_run_id))
    curve.refresh_from_db()
    assert curve.status == Status.DONE
    points = LearningPoint.objects.order_by("share")
    assert [point.fields["queue"] for point in points] == [[1, 4], [2, 4], [3, 4], [4, 4]]


def test_runs_of_points_have_the_recommended_method(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.runs.services.check_lengths", lambda *_: None)
    monkeypatch.setattr(services, "recommended_method", lambda **_: "full")
    started(project, base_model=make_base_model(tmp_path / "base"), seeds=1)
    assert {RunSpec.from_yaml(run.spec).method for run in TrainingRun.objects.all()} == {"full"}


def test_cancelling_a_curve_cancels_its_runs(runs_of_points: LearningCurve) -> None:
    assert services.cancel(curve=runs_of_points, user=member(runs_of_points.project, Role.ENGINEER))
    assert set(TrainingRun.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    assert set(EvalRun.objects.values_list("status", flat=True)) == {Status.CANCELLED}
    runs_of_points.refresh_from_db()
    assert runs_of_points.status == Status.CANCELLED
    assert not services.cancel(curve=runs_of_points, user=member(runs_of_points.project, Role.ENGINEER))


def test_a_version_with_too_few_documents_leads_to_the_form_of_a_freeze(project: Project, client: Client) -> None:
    add_messages(project, 4, labeled=True, prefix="z")
    dataset = freeze(project=project, user=None, validation_share=0.0)
    client.force_login(member(project, Role.ENGINEER))
    data = {"dataset": str(dataset.number), "model": "classifier", "seeds": "1"}
    answer = client.post(reverse("learning_curves", args=["messages"]), data)
    share = client.get(answer.context["freeze"]).context["form"]["validation"].value()
    outside = dataset.counts["splits"]["train"]
    assert int(share) == services.validation_share(outside)
    assert services.MIN_VALIDATION < int(share) / 100 * outside < outside - services.MIN_TRAIN


def test_pages(project: Project, client: Client) -> None:
    client.force_login(member(project, Role.ENGINEER))
    address = reverse("learning_curves", args=["messages"])
    assert client.get(address).status_code == 200
    data = {"dataset": "1", "model": "classifier", "seeds": "1"}
    assert client.post(address, {**data, "seeds": "0"}).status_code == 422
    answer = client.post(address, data)
    curve = LearningCurve.objects.get()
    assert answer["Location"] == curve.get_absolute_url()
    assert client.get(curve.get_absolute_url()).context["fields"] == []
    jobs.run_learning_curve(curve.pk)
    page = client.get(curve.get_absolute_url())
    assert [one.name for one in page.context["fields"]] == ["queue"]
