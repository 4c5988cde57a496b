"""What an encoder says of unlabeled documents: pre-labels, the order of the queue, suspect labels."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.inference import local
from evaluation.label_issues.label_checks import LABEL_CHECK, MIN_DOCUMENTS
from evaluation.models import SuspectLabel
from evaluation.prelabels.jobs import run_prelabels
from evaluation.prelabels.services import run_statistics, start_prelabels
from evaluation.runs import outputs
from labeling.annotation.queue import next_document
from labeling.datasets.freeze import freeze
from labeling.models import DocumentPlace, Prediction, Project, Study
from labeling.queue_order.study import QUEUE_ORDER
from labeling.studies import services
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from slmstudio.runs.models import Status
from tests.evaluation.encoders import answer_here, make_encoder, train_encoder
from tests.evaluation.factories import World, evaluated, make_world, rewrite
from tests.evaluation.prelabels.test_services import add_fresh
from tests.labeling.label_desk import change_schema
from tests.labeling.message_desk import member


def studied(project: Project, kind: Any, **spec: Any) -> Study:
    study = services.start(project=project, user=member(project, Role.OWNER), kind=kind, spec=spec)
    services.run_study(study.pk)
    study.refresh_from_db()
    return study


def test_pre_labels_of_an_encoder_have_a_confidence_by_which_the_queue_is_ordered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_encoder(world)
    monkeypatch.setattr(local, "supervise", answer_here)
    documents = add_fresh(world)
    run = start_prelabels(project=world.project, user=world.engineer, model_version=world.version)
    run_prelabels(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == (Status.DONE, "")
    assert run_statistics(run).requested == len(documents)
    predictions = Prediction.objects.filter(document__in=documents)
    assert {prediction.source for prediction in predictions} == {run.source}
    assert all(0 < value <= 1 for prediction in predictions for value in prediction.confidence.values())
    assert all(prediction.confidence for prediction in predictions)
    order = studied(world.project, QUEUE_ORDER, method="confidence", control_percent=0)
    assert "pre-labels of 8 documents" in order.result["signal"]
    world.project.refresh_from_db()
    first = DocumentPlace.objects.get(run=order, place=1).document
    assert next_document(project=world.project, user=world.annotator) == first


def test_labels_are_checked_with_the_confidence_of_an_evaluation(db: None, tmp_path: Path) -> None:
    world = make_world(tmp_path / "base", documents=64, holdout=8)
    dataset = freeze(project=world.project, user=world.engineer, validation_share=0.5)
    doubted = dataset.items.filter(split="validation").values_list("document__external_id", flat=True)[0]

    def says(row: dict[str, Any]) -> dict[str, Any]:
        other = {**row["gold"], "vendor": "Another Vendor"} if row["id"] == doubted else row["gold"]
        return {"raw": dumps(other), "confidence": {"vendor": [0.97, 0.97]}}

    make_encoder(world)
    run = evaluated(world, says, split="validation", dataset=dataset)
    assert LABEL_CHECK.defaults(world.project, {}) == {"source": f"evaluation-{run.number}"}
    assert outputs.confidences(run)[doubted] == {"vendor": 0.97}
    check = studied(world.project, LABEL_CHECK, source=f"evaluation-{run.number}")
    suspect = SuspectLabel.objects.get(run=check, place=1)
    assert (suspect.document.external_id, suspect.field, suspect.probability) == (doubted, "vendor", 0.97)
    change_schema(world.project, world.owner, paid={"type": "boolean"})
    assert LABEL_CHECK.defaults(world.project, {}) == {"source": "classifier"}  # the encoder has no head for it
    rewrite(world.training_run, facts={"heads": [{"field": "paid", "kind": "decision", "located": [9, 9]}]})
    assert LABEL_CHECK.defaults(world.project, {}) == {"source": f"evaluation-{run.number}"}
    rewrite(run, scores={**run.scores, "documents": MIN_DOCUMENTS - 1})
    assert LABEL_CHECK.defaults(world.project, {}) == {"source": "classifier"}
