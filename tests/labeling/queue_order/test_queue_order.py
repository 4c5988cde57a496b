"""The order of a queue: what is computed, which document comes next, and what labels chosen by it are used for."""

from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.annotation import predictions
from labeling.annotation.queue import next_document, queue_position, skip
from labeling.datasets.freeze import freeze
from labeling.models import DatasetItem, Document, DocumentPlace, Project, Split, Study
from labeling.queue_order import acquisition
from labeling.queue_order import study as queue_order
from labeling.queue_order.document_ranking import ConfidenceCurves
from labeling.queue_order.study import QUEUE_ORDER
from labeling.studies import services
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.labeling.message_desk import add_messages, make_project, member
from tests.shared_rows import shared_fixture


@shared_fixture
def project(db: None) -> Project:
    made = make_project()
    add_messages(made, 30, labeled=True)
    add_messages(made, 12, labeled=False, prefix="n")
    return made


def ordered(project: Project, order: str, control: float = 0.0) -> Study:
    spec = {"method": order, "control_percent": 100 * control}
    run = services.start(project=project, user=member(project, Role.MANAGER), kind=QUEUE_ORDER, spec=spec)
    services.run_study(run.pk)
    run.refresh_from_db()
    project.refresh_from_db()
    return run


def pre_label(project: Project, confidence: dict[str, float], source: str = "api", queue: str = "billing") -> None:
    keys = dict(Document.objects.filter(project=project).values_list("external_id", "pk"))
    given = [
        predictions.PredictionInput(keys[name], dumps({"queue": queue}), {"queue": sure})
        for name, sure in confidence.items()
    ]
    version = project.schema_version
    predictions.record(project=project, schema_version=version, proposals=given, model="large", source=source)


def test_the_least_confident_pre_label_comes_first(project: Project) -> None:
    pre_label(project, {f"n{number:02}": 0.9 - 0.01 * number for number in range(12)})
    run = ordered(project, "confidence")
    assert (run.status, project.order_run) == (Status.DONE, run)
    ana = member(project, Role.ANNOTATOR)
    taken = next_document(project=project, user=ana)
    assert taken is not None
    assert taken.external_id == "n11"
    following = next_document(project=project, user=ana, after=taken.pk)
    assert following is not None
    assert following.external_id == "n10"
    standing = queue_position(document=following, user=ana)
    assert (standing.place, standing.is_random) == (2, False)


def test_without_pre_labels_a_classifier_orders(project: Project) -> None:
    Document.objects.filter(external_id="n05").update(text="card parcel fee letter")  # words of both classes
    run = ordered(project, "combined")
    assert (run.result["labels"], run.result["documents"]) == (30, 12)
    assert DocumentPlace.objects.get(run=run, place=1).document.external_id == "n05"


def test_two_models_that_disagree_come_first(project: Project) -> None:
    names = [f"n{number:02}" for number in range(12)]
    pre_label(project, dict.fromkeys(names, 0.9))
    pre_label(project, dict.fromkeys(names[:7] + names[8:], 0.9), source="other")
    pre_label(project, {"n07": 0.9}, source="other", queue="sales")
    run = ordered(project, "disagreement")
    first = DocumentPlace.objects.get(run=run, place=1)
    assert (first.document.external_id, first.signal) == ("n07", 1.0)


def test_without_a_signal_the_previous_order_stays(db: None) -> None:
    project = make_project()
    add_messages(project, 5, labeled=False)
    first = ordered(project, "random")
    failed = ordered(project, "confidence")
    assert (failed.status, project.order_run) == (Status.FAILED, first)
    with pytest.raises(Refused) as refused:
        ordered(project, "other")
    assert refused.value.field == "method"


def test_labeled_and_skipped_documents_leave_the_order_and_may_return(project: Project) -> None:
    run = ordered(project, "random")
    first = DocumentPlace.objects.get(run=run, place=1)
    skip(document=first.document, user=member(project, Role.ANNOTATOR), reason="Unreadable")
    first.refresh_from_db()
    assert not first.open
    Document.objects.filter(pk=first.document_id).update(state="new")
    first.refresh_from_db()
    assert first.open


def test_new_documents_come_last_until_the_order_is_updated(project: Project) -> None:
    run = ordered(project, "random")
    assert not queue_order.is_outdated(project)
    add_messages(project, 3, labeled=False, prefix="z")
    assert queue_order.is_outdated(project)
    Document.objects.filter(places__run=run).update(state="submitted")
    ana = member(project, Role.ANNOTATOR)
    late = next_document(project=project, user=ana)
    assert late is not None
    assert late.external_id == "z00"
    queue_order.update_all()
    again = Study.objects.latest("pk")
    assert again.status == Status.QUEUED
    services.run_study(again.pk)
    assert set(DocumentPlace.objects.filter(open=True).values_list("run", flat=True)) == {again.pk}
    assert DocumentPlace.objects.filter(run=run).count() == 12  # closed: which labels were chosen


def test_the_next_document_takes_no_more_queries_than_in_import_order(project: Project) -> None:
    ana = member(project, Role.ANNOTATOR)
    counts = []
    for order in ("", "random"):
        if order:
            ordered(project, order)
        taken = next_document(project=project, user=ana)
        assert taken is not None
        with CaptureQueriesContext(
            connection,
        ) as queries:
            next_document(project=project, user=ana, after=taken.pk)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_the_hold_out_is_drawn_from_random_places_only(project: Project) -> None:
    run = ordered(project, "combined", control=0.5)
    add_labels(project)
    dataset = freeze(project=project, user=None, holdout_share=0.5, validation_share=0)
    held = set(DatasetItem.objects.filter(dataset=dataset, split=Split.HOLDOUT).values_list("document_id", flat=True))
    chosen = set(DocumentPlace.objects.filter(run=run, chosen=True).values_list("document_id", flat=True))
    assert chosen
    assert held
    assert not held & chosen


def add_labels(project: Project) -> None:
    """Labels every document of the queue."""
    from labeling.annotation.services import open_document, submit

    ana = member(project, Role.ANNOTATOR)
    for document in Document.objects.filter(project=project, state="new"):
        opened = open_document(document=document, user=ana)
        submit(
            document=document, user=ana, value={"queue": "billing"}, evidence={"reason": {"absent": True}},
            base_version=opened.version, seconds=1, schema_number=opened.schema_version.number,
        )  # fmt: skip


def test_hold_out_documents_get_random_places(project: Project) -> None:
    Document.objects.filter(external_id__in=["n01", "n02"]).update(holdout=True)
    run = ordered(project, "combined")
    rows: Any = DocumentPlace.objects.filter(run=run, chosen=False)
    assert set(rows.values_list("document__external_id", flat=True)) == {"n01", "n02"}


def test_newer_order_replaces_a_queued_one(project: Project) -> None:
    asked = {"project": project, "user": member(project, Role.MANAGER), "kind": QUEUE_ORDER}
    old, new = (services.start(**asked, spec={"method": "random", "control_percent": 0}) for _ in range(2))
    old.refresh_from_db()
    assert (old.status, new.status) == (Status.CANCELLED, Status.QUEUED)


# -- the ranking of unlabeled documents: what comes first, and what stays random --


def test_similar_documents_do_not_follow_each_other_and_new_ones_count_more() -> None:
    sparse = pytest.importorskip("scipy.sparse").csr_matrix
    vectors = sparse(np.array([[1.0, 0], [1, 0], [0, 1]]))
    values = np.array([0.9, 0.8, 0.5])
    assert acquisition.by_value(values) == [0, 1, 2]
    assert acquisition.spread(values, vectors.__getitem__) == [0, 2, 1]
    assert acquisition.spread(values, vectors.__getitem__, head=1) == [0, 1, 2]
    assert acquisition.novelty(vectors[1:], vectors[:1]).tolist() == [0.0, 1.0]


def test_control_places_are_a_uniform_draw() -> None:
    count = 400
    order, control = acquisition.with_control(list(range(count)), 0.25, seed=3)
    assert sorted(order) == list(range(count))
    head = order[:100]
    assert 15 <= len(control.intersection(head)) <= 35
    chosen = [document for document in head if document not in control]
    assert chosen == sorted(chosen)
    assert np.mean([document for document in head if document in control]) > 100
    assert acquisition.with_control(list(range(count)), 0, seed=3) == (list(range(count)), set())


def test_uncertainty_and_disagreement() -> None:
    first = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0]])
    second = np.array([[0.0, 0.0, 1.0], [0.9, 0.1, 0.0]])
    assert acquisition.uncertainty(first).tolist() == pytest.approx([1.0, 0.2])
    assert acquisition.disagreement(first, second).tolist() == pytest.approx([1.0, 0.0])


def test_calibration_learns_how_often_a_confidence_is_right() -> None:
    pairs = [(0.9, number % 2 == 0) for number in range(40)] + [(0.5, False)] * 10
    learned = ConfidenceCurves({"total": pairs, "date": [(0.9, False)] * 5}, 50)
    assert learned.field("total", 0.9) == pytest.approx(0.5)
    assert learned.field("total", 0.5) == 0.0
    assert learned.field("date", 0.9) == 0.9
    assert learned.document({"total": 0.9, "date": 0.8}) == pytest.approx(0.4)
